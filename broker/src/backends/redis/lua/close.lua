-- Says that no more will come to a queue. ARGV: channel.
local q = queue(0)
create(q)
redis.call('HSET', q.info, 'closed', 1)
news = true
finish(ARGV[1])
return 1
