-- What is known of tasks after their end: remembered ids, results, and unique keys that are still held. As machine/outcome.rs.

-- Forgets what is over in a set, and what is too much in it, and tells whether any is left.
local function forget_in(q, set, hash, most)
  local past = redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, UPKEEP)
  local left = redis.call('ZCARD', set)
  if #past == 0 and left > most then
    past = redis.call('ZRANGE', set, 0, math.min(left - most, UPKEEP) - 1)
  end
  if #past > 0 then
    redis.call('ZREM', set, unpack(past))
    if hash then redis.call('HDEL', hash, unpack(past)) end
  end
  return left > #past
end

local function forget_ids(q) return forget_in(q, q.remembered, nil, MAX_REMEMBERED) end
local function forget_keys(q) return forget_in(q, q.seen, q.unique, MAX_REMEMBERED) end
local function forget_results(q) return forget_in(q, q.untils, q.results, MAX_RESULTS) end

-- Looks for what need not be known any more, now and then: a queue that is told nothing new forgets too.
local function forget_sometimes(q)
  local at = about(q).forget
  if not at or at > now then return end
  local ids, keys, results = forget_ids(q), forget_keys(q), forget_results(q)
  redis.call('HDEL', q.info, 'forget')
  if ids or keys or results then redis.call('HSET', q.info, 'forget', now + FORGET) end
end

-- Notes that something was kept: `finish` forgets what is over by then, once a script.
local function kept(q, forget)
  q.kept = q.kept or {}
  q.kept[forget] = true
end

local function remember(q, id)
  local ms = about(q).remember_ids
  if ms == 0 then return end
  redis.call('ZADD', q.remembered, now + ms, id)
  kept(q, forget_ids)
end

local function drop_result(q, id)
  if redis.call('HDEL', q.results, id) == 1 then redis.call('ZREM', q.untils, id) end
end

-- Keeps what became of a task that is gone, if somebody wants to know.
local function keep_result(q, id, h, what)
  if not h.result then return end
  if h.result == 0 then return drop_result(q, id) end
  redis.call('HSET', q.results, id, '\1' .. what)
  redis.call('ZADD', q.untils, now + h.result, id)
  kept(q, forget_results)
end

-- The id of the task that has this key, or had it not long ago.
local function holder_of(q, key)
  local id = key and redis.call('HGET', q.unique, key)
  if not id then return nil end
  local till = redis.call('ZSCORE', q.seen, key)
  if till and tonumber(till) <= now then return nil end
  return id
end

local function take_key(q, id, h)
  if not h.unique then return end
  redis.call('HSET', q.unique, h.unique, id)
  redis.call('ZREM', q.seen, h.unique)
end

-- The task ended: its key is free, at once or later.
local function let_go_of_key(q, h)
  if not h.unique then return end
  if h.hold and h.hold > 0 then
    redis.call('ZADD', q.seen, now + h.hold, h.unique)
    kept(q, forget_keys)
  else
    redis.call('HDEL', q.unique, h.unique)
  end
end

-- Whether the id is on the queue or remembered.
local function exists(q, id)
  if redis.call('HEXISTS', q.body, id) == 1 then return true end
  local remembered = redis.call('ZSCORE', q.remembered, id)
  if not remembered then return false end
  -- Only noted, for `begin`: a script that begins by a removal would be let in by a server without memory.
  q.past = id
  return tonumber(remembered) > now
end

-- What was known of an earlier task of this id is over. Most queues keep no results, which is asked once.
local function begin(q, id)
  if q.past == id then redis.call('ZREM', q.remembered, id) end
  if q.keeps == nil then q.keeps = redis.call('EXISTS', q.untils) == 1 end
  if q.keeps then drop_result(q, id) end
end
