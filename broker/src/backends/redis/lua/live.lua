-- Lists workers. KEYS: those of workers. ARGV: the incarnation after which, or nothing; how many, how many ms they may have been
-- silent. Returns for each its incarnation, how many ms ago it was heard, whether it was asked to drain, and what it told.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local MAX_BYTES = 5242880
local live = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], now - ARGV[3], '+inf')) do
  if worker > ARGV[1] then table.insert(live, worker) end
end
table.sort(live)
local list, bytes = {}, 0
for i = 1, math.min(#live, tonumber(ARGV[2])) do
  local told = redis.call('HGET', KEYS[1], live[i])
  if told then
    bytes = bytes + #told
    if bytes > MAX_BYTES and #list > 0 then break end
    local heard = math.max(0, now - redis.call('ZSCORE', KEYS[2], live[i]))
    for _, value in ipairs({live[i], heard, redis.call('SISMEMBER', KEYS[3], live[i]), told}) do table.insert(list, value) end
  end
end
return list
