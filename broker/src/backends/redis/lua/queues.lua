-- Looks for the queues of a namespace, some keys at a time. ARGV: pattern of their infos, cursor. Returns the next cursor and the keys.
return redis.call('SCAN', ARGV[2], 'MATCH', ARGV[1], 'COUNT', 1000)
