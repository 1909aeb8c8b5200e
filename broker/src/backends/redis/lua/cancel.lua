-- Arrow cancel: ready, due or held -> (gone). ARGV: channel, then ids of queue 0. Returns for each 1 cancelled, 2 asked of its holder, 0 unknown.
local q = queue(0)
local answers = {}

local function cancel(id)
  local body = redis.call('HGET', q.body, id)
  if not body or redis.call('ZSCORE', q.dead, id) then return 0 end
  -- The first write: a server out of memory refuses scripts whose first write may need some.
  redis.call('ZREM', q.expiring, id)
  local p = progress(q, id)
  if redis.call('ZSCORE', q.lease, id) then
    p.cancelled = true
    save(q, id, p)
    return 2
  end
  local h = header(body)
  leave(q, id, p, h)
  go(q, id, p, h, 'C')
  return 1
end

for at = 2, #ARGV do answers[#answers + 1] = cancel(ARGV[at]) end
finish(ARGV[1])
return answers
