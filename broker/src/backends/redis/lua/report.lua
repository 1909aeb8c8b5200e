-- Notes what a worker told of itself. KEYS: those of workers, see `workers.rs`. ARGV: incarnation, report, for how many ms it is known.
-- Returns 1 if somebody asked it to drain.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reports, heard, asked = KEYS[1], KEYS[2], KEYS[3]
redis.call('HSET', reports, ARGV[1], ARGV[2])
redis.call('ZADD', heard, now, ARGV[1])
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', heard, '-inf', now - ARGV[3] - 1, 'LIMIT', 0, 16)) do
  redis.call('HDEL', reports, silent)
  redis.call('SREM', asked, silent)
  redis.call('ZREM', heard, silent)
end
-- When the last worker has fallen silent nobody is left to clear up.
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[3] * 2) end
return redis.call('SISMEMBER', asked, ARGV[1])
