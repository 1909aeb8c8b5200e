-- Asks a worker to drain. KEYS: those of workers. ARGV: incarnation, how many ms it may have been silent. Returns 1 if it is there.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not at or now - at > tonumber(ARGV[2]) then return 0 end
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('PEXPIRE', KEYS[3], ARGV[2] * 2)
return 1
