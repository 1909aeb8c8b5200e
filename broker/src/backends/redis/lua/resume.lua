-- Lets the claims of a queue go on. ARGV: channel.
local q = queue(0)
redis.call('HDEL', q.info, 'paused', 'paused_by', 'paused_at')
create(q)
q.got_ready = true
finish(ARGV[1])
return 1
