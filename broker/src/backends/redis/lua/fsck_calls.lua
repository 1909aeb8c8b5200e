-- Looks at the answers of the calls of one incarnation, the last key. ARGV: repair (1 or 0). Returns what is wrong: for each what, and how it is
-- repaired, or nothing.
local calls, repair = KEYS[#KEYS], ARGV[1] == '1'
local found = redis.call('TYPE', calls).ok
if found ~= 'none' and found ~= 'hash' then return { 'the key ' .. calls .. ' is a ' .. found .. ': remove or rename it', '' } end
if redis.call('PTTL', calls) ~= -1 then return {} end
if repair then redis.call('PEXPIRE', calls, 600000) end
return { 'the answers of calls in ' .. calls .. ' are kept until no time', 'they are kept for ten minutes' }
