-- Looks through what is kept of batches, some at a time.
-- ARGV: repair (1 or 0), which key (batches, numbers or ended), cursor, count. Returns the next cursor; what is wrong: for each what, and how it is
-- repaired; and of batches by turns each name and its record.
local repair, part = ARGV[1] == '1', ARGV[2]
local wrong, records = {}, {}

local function note(what, how)
  wrong[#wrong + 1] = what
  wrong[#wrong + 1] = how
  return repair
end

local looks = {
  batches = function(name, record)
    records[#records + 1] = name
    records[#records + 1] = record
    local b = batch(name)
    if b.number == 0 then
      if note('the counts of batch ' .. name .. ' cannot be read', 'they are removed') then
        redis.call('HDEL', KEYS[2], name)
        records[#records] = ''
      end
      return
    end
    local number = string.format('%.0f', b.number)
    if b.unsettled > 0 then
      if redis.call('HGET', KEYS[3], number) ~= name then
        if note('batch ' .. name .. ' goes on, but its number is not known', 'it is noted') then redis.call('HSET', KEYS[3], number, name) end
      end
    elseif not redis.call('ZSCORE', KEYS[4], name) then
      if note('how batch ' .. name .. ' ended is kept until no time', 'it is kept for an hour') then
        redis.call('ZADD', KEYS[4], now + KEEP_BATCH, name)
      end
    end
    if b.number > tonumber(redis.call('HGET', KEYS[1], 'batches') or 0) then
      if note('the counter batches is below what was given', 'it is set to that') then redis.call('HSET', KEYS[1], 'batches', number) end
    end
  end,
  numbers = function(number, name)
    local b = batch(name)
    if b.unsettled > 0 and string.format('%.0f', b.number) == number then return end
    if note('the number ' .. number .. ' is that of no batch', 'it is removed, and what was held for its life is free') then
      redis.call('HDEL', KEYS[3], number)
    end
  end,
  ended = function(name)
    local b = batch(name)
    if b.number > 0 and b.unsettled == 0 then return end
    if note('batch ' .. name .. ' is to be forgotten, but did not end', 'it is not') then redis.call('ZREM', KEYS[4], name) end
  end,
}

local at = ({ batches = 2, numbers = 3, ended = 4 })[part]
local found = redis.call(part == 'ended' and 'ZSCAN' or 'HSCAN', KEYS[at], ARGV[3], 'COUNT', ARGV[4])
for at = 1, #found[2], 2 do looks[part](found[2][at], found[2][at + 1]) end
return { found[1], wrong, records }
