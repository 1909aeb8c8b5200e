-- Takes the credit of sessions back: ARGV, each of the queue with the key of the same number. See `credit.lua`.
for at, credit in ipairs(KEYS) do redis.call('ZREM', credit, ARGV[at]) end
return #KEYS
