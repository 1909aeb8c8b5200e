-- Renews leases. ARGV: lease in ms, then for each: queue, id, epoch, holder, and what it tells of its progress, or ''. Returns for each 1 kept, 2 kept but to be cancelled, 0 lost.
local lease = tonumber(ARGV[1])
local answers = {}
for at = 2, #ARGV, 5 do
  local q, id = queue(tonumber(ARGV[at])), ARGV[at + 1]
  local p = held(q, id, tonumber(ARGV[at + 2]), ARGV[at + 3])
  -- Without its body a task cannot be settled; when its lease runs out, the next claim drops it.
  if p and redis.call('HEXISTS', q.body, id) == 1 then
    -- Removed first: a server out of memory refuses scripts whose first write may need some, and a refused beat would be a lost lease.
    redis.call('ZREM', q.lease, id)
    redis.call('ZADD', q.lease, now + lease, id)
    if ARGV[at + 4] ~= '' then
      p.reported = ARGV[at + 4]
      save(q, id, p)
    end
    answers[#answers + 1] = p.cancelled and 2 or 1
  else
    answers[#answers + 1] = 0
  end
end
return answers
