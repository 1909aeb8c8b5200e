-- Forgets what a worker told of itself. KEYS: those of workers. ARGV: incarnation.
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[3], ARGV[1])
return 1
