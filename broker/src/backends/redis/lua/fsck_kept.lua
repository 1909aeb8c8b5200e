-- Looks at what is known by a key or of tasks that are gone, and at what tasks have by their keys, some at a time. Each is judged and mended in one step.
-- ARGV: repair (1 or 0), the key's part (unique, seen, results, untils, held, permits or opening), cursor, count, channel.
-- Returns the next cursor, and what is wrong: for each the id or nothing, what, and how it is repaired.
local MAX_KEY_INTERVAL = 86400000
local q, repair, part = queue(0), ARGV[1] == '1', ARGV[2]
local wrong = {}

local function note(id, what, how)
  for _, value in ipairs({ id, what, how }) do wrong[#wrong + 1] = value end
  return repair
end

local function key_of(id)
  local h = read_header(redis.call('HGET', q.body, id) or '')
  return h and h.unique
end

local function forget_soon()
  if redis.call('HEXISTS', q.info, 'forget') == 0 then redis.call('HSET', q.info, 'forget', now + FORGET) end
end

local looks = {
  unique = function(key, id)
    if redis.call('ZSCORE', q.seen, key) then return end
    if key_of(id) == key and not redis.call('ZSCORE', q.dead, id) then return end
    if note(id, 'it holds the unique key ' .. key .. ', but is gone, dead, or has another', 'the key is free') then
      redis.call('HDEL', q.unique, key)
    end
  end,
  seen = function(key, till)
    if tonumber(till) > HELD + tonumber(redis.call('HGET', KEYS[1], 'batches') or 0) then
      if note('', 'the unique key ' .. key .. ' is held by a batch that never was', 'it is free') then
        redis.call('ZREM', q.seen, key)
        redis.call('HDEL', q.unique, key)
      end
      return
    end
    local id = redis.call('HGET', q.unique, key)
    if not id then
      if note('', 'the unique key ' .. key .. ' is seen, but nobody had it', 'it is free') then redis.call('ZREM', q.seen, key) end
    elseif key_of(id) == key and not redis.call('ZSCORE', q.dead, id) then
      if note(id, 'its unique key is seen, as if it had ended', 'the key is its own') then redis.call('ZREM', q.seen, key) end
    end
  end,
  results = function(id, what)
    if redis.call('HEXISTS', q.body, id) == 1 then
      if note(id, 'it has a result, but is not settled', 'the result is removed') then
        redis.call('HDEL', q.results, id)
        redis.call('ZREM', q.untils, id)
      end
    elseif string.byte(what) ~= 1 or not string.find(what, '^.[CD]') then
      if note(id, 'its result cannot be read', 'the result is removed') then
        redis.call('HDEL', q.results, id)
        redis.call('ZREM', q.untils, id)
      end
    elseif not redis.call('ZSCORE', q.untils, id) then
      if note(id, 'its result is kept until no time', 'it is kept for an hour') then
        redis.call('ZADD', q.untils, now + 3600000, id)
        forget_soon()
      end
    end
  end,
  held = function(at)
    local zero = string.find(at, '\0', 1, true)
    if zero and #at > zero + 16 then return end
    if note('', 'an entry of held cannot be read', 'it is removed') then redis.call('ZREM', q.held, at) end
  end,
  permits = function(at)
    local key, id = string.match(at, '^([^%z]+)%z[rl](.+)$')
    local h = id and read_header(redis.call('HGET', q.body, id) or '')
    if h and h.key == key then return end
    if note(id or '', 'a permit is that of no task with its key', 'it is removed') then
      redis.call('ZREM', q.permits, at)
      if key then admit(q, key) end
    end
  end,
  opening = function(key, till)
    -- It may have begun before the queue got a shorter one.
    if tonumber(till) <= now + MAX_KEY_INTERVAL then return end
    if note('', 'the interval of the key ' .. key .. ' ends later than any can', 'it begins now') then
      redis.call('ZADD', q.opening, now + about(q).key_interval, key)
    end
  end,
  untils = function(id)
    if redis.call('HEXISTS', q.results, id) == 1 then return end
    if note(id, 'it has no result, but a time to forget one', 'the time is removed') then redis.call('ZREM', q.untils, id) end
  end,
}

local hash = part == 'unique' or part == 'results'
local found = redis.call(hash and 'HSCAN' or 'ZSCAN', q[part], ARGV[3], 'COUNT', ARGV[4])
for at = 1, #found[2], 2 do looks[part](found[2][at], found[2][at + 1]) end
finish(ARGV[5])
return { found[1], wrong }
