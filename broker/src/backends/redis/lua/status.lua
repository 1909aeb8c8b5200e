-- How a queue stands. Returns capacity, remember_ids, revision, closed, ready, scheduled, leased, dead; nothing for a missing one.
local q = queue(0)
if redis.call('EXISTS', q.info) == 0 then return {} end
local info = redis.call('HMGET', q.info, 'capacity', 'remember_ids', 'revision', 'closed')
return { info[1], info[2], info[3], info[4], count_ready(q), redis.call('ZCARD', q.due),
  redis.call('ZCARD', q.lease), redis.call('ZCARD', q.dead) }
