-- Stops the claims of a queue, or lets them go on. ARGV: channel, paused (1 or 0).
local q = queue(0)
-- Removed in any case: a server out of memory refuses scripts whose first write may need some.
redis.call('HDEL', q.info, 'paused')
create(q)
if ARGV[2] == '1' then redis.call('HSET', q.info, 'paused', 1) end
news = true
finish(ARGV[1])
return 1
