-- Arrow purge: dead -> (gone). ARGV: ids of queue 0. Returns for each 1 purged, 0 not dead.
local q = queue(0)
local answers = {}
for _, id in ipairs(ARGV) do
  local dead = redis.call('ZREM', q.dead, id)
  if dead == 1 then remove(q, id) end
  answers[#answers + 1] = dead
end
return answers
