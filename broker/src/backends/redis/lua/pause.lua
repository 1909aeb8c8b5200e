-- Stops the claims of a queue, unless somebody has done so already. ARGV: channel, who does so.
local q = queue(0)
if about(q).paused then return 1 end
-- Whatever is left of before: a server out of memory refuses scripts whose first write may need some.
redis.call('HDEL', q.info, 'paused', 'paused_by', 'paused_at')
create(q)
redis.call('HSET', q.info, 'paused', 1, 'paused_by', ARGV[2], 'paused_at', now)
q.got_ready, q.got_settled = true, true
finish(ARGV[1])
return 1
