-- Looks at the namespace's own key, and for the keys of its queues, some at a time.
-- ARGV: repair (1 or 0), pattern, cursor. Returns the next cursor, the keys, and what is wrong: for each what, and how it is repaired.
local wrong = {}

local function note(what, how)
  wrong[#wrong + 1] = what
  wrong[#wrong + 1] = how
end

if ARGV[3] == '0' then
  if redis.call('PTTL', KEYS[1]) >= 0 then
    note('the key of the namespace expires', 'it is kept')
    if ARGV[1] == '1' then redis.call('PERSIST', KEYS[1]) end
  end
  local generation = tonumber(redis.call('HGET', KEYS[1], 'epochs_from'))
  if not generation or generation < 0 or generation > 2 ^ 33 then
    note('the generation is none', 'it is set anew, from the clock')
    if ARGV[1] == '1' then redis.call('HSET', KEYS[1], 'epochs_from', math.floor(now / 1000)) end
  end
end
local found = redis.call('SCAN', ARGV[3], 'MATCH', ARGV[2], 'COUNT', 500)
return { found[1], found[2], wrong }
