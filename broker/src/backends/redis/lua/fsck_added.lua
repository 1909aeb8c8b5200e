-- Compares the last sequence given with the highest that was seen. ARGV: repair (1 or 0), the highest. Returns 1 when it is wrong.
local q, highest = queue(0), tonumber(ARGV[2])
local added = tonumber(redis.call('HGET', q.info, 'added') or '')
-- One that is missing was told of already.
if not added or added < 0 or added >= highest then return 0 end
if ARGV[1] == '1' then redis.call('HSET', q.info, 'added', string.format('%.0f', math.max(highest, now))) end
return 1
