-- Says that no more will come to a queue. ARGV: channel.
local q = queue(0)
-- Removed in any case: a server out of memory refuses scripts whose first write may need some.
redis.call('HDEL', q.info, 'closed')
create(q)
redis.call('HSET', q.info, 'closed', 1)
q.got_ready, q.got_settled = true, true
finish(ARGV[1])
return 1
