-- The short way of beats: of plain tasks that tell nothing.
-- ARGV: lease in ms, then for each: queue, id, epoch, holder, and what it tells of its progress, or ''. Returns for each 1 kept, 2 kept but to be cancelled, 0 lost.
local lease = tonumber(ARGV[1])
local answers, answered = {}, 0

-- Removed first: a server out of memory refuses scripts whose first write may need some, and a refused beat would be a lost lease.
local function renew(q, ids)
  local leases = {}
  for at, id in ipairs(ids) do leases[2 * at - 1], leases[2 * at] = now + lease, id end
  redis.call('ZREM', q.lease, unpack(ids))
  redis.call('ZADD', q.lease, unpack(leases))
end

-- Those that tell nothing, by the indexes of their queues: where they stand in ARGV.
local silent = {}
for at = 2, #ARGV, 5 do
  if ARGV[at + 4] == '' then
    local index = ARGV[at]
    silent[index] = silent[index] or {}
    table.insert(silent[index], at)
  end
end

-- Renews the leases of plain tasks, those of a queue at once, and answers them.
local function renew_plain(q, places)
  local ids, kept = {}, {}
  for number, at in ipairs(places) do ids[number] = ARGV[at + 1] end
  local plain = plain_claims(q, ids, function(number)
    local at = places[number]
    return ARGV[at + 2], ARGV[at + 3]
  end)
  for number, at in ipairs(places) do
    if plain[number] then
      kept[#kept + 1] = ids[number]
      answers[(at + 3) / 5] = 1
      answered = answered + 1
    end
  end
  if #kept > 0 then renew(q, kept) end
end

for index, places in pairs(silent) do renew_plain(queue(tonumber(index)), places) end

if answered == (#ARGV - 1) / 5 then return answers end
