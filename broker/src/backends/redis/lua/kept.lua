-- What is known of tasks after their end: remembered ids, results, and unique keys that are still held. As machine/outcome.rs.

-- Forgets keys of batches that have ended, by their scores: a bounded number, and from there on the next time. Tells whether there may be more.
local function forget_keys_of_batches(q)
  local from, most = about(q).swept or HELD, UPKEEP
  local began, more = from, true
  for _ = 1, 8 do
    local score = tonumber(redis.call('ZRANGEBYSCORE', q.seen, string.format('(%.0f', from), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2])
    if not score then
      from, more = HELD, false
      break
    end
    if is_live(score - HELD) then
      from = score
    else
      local at = string.format('%.0f', score)
      local keys = redis.call('ZRANGEBYSCORE', q.seen, at, at, 'LIMIT', 0, most)
      redis.call('ZREM', q.seen, unpack(keys))
      redis.call('HDEL', q.unique, unpack(keys))
      most = most - #keys
      if most == 0 then break end
    end
  end
  if from ~= began then
    redis.call('HDEL', q.info, 'swept')
    if from ~= HELD then redis.call('HSET', q.info, 'swept', string.format('%.0f', from)) end
    q.about.swept = from
  end
  return more
end

local function forget_keys(q)
  local more = forget_keys_of_batches(q)
  local left, full = forget_in(q, q.seen, q.unique, MAX_REMEMBERED)
  return left, more or full
end
local function forget_batches(q) return forget_in(q, KEYS[4], KEYS[2], MAX_BATCHES) end

-- Looks for what need not be known any more, now and then: a queue that is told nothing new forgets too.
local function forget_sometimes(q)
  local at = about(q).forget
  if not at or at > now then return end
  local again, soon = false, false
  for _, forget in ipairs({ forget_ids, forget_keys, forget_results, forget_batches }) do
    local left, more = forget(q)
    again, soon = again or left, soon or more
  end
  redis.call('HDEL', q.info, 'forget')
  if again then redis.call('HSET', q.info, 'forget', soon and now or now + FORGET) end
end

-- Counts the tasks that the step has settled. A batch of which nothing is unsettled has ended, and all that were held for its life are free:
-- called when the children of the step have come, so that a task hands its batch on to them.
local function count_settled()
  for _, task in ipairs(settled) do
    local b = batch(task.name)
    if b.unsettled > 0 then
      b.unsettled = b.unsettled - 1
      b[task.fate] = b[task.fate] + 1
      note_change(b)
      if b.unsettled == 0 then
        end_batch(task.name, b)
        kept(task.q, forget_batches)
      end
    end
  end
  settled = {}
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
  local till = tonumber(redis.call('ZSCORE', q.seen, key) or nil)
  if till and (till <= now or till >= HELD and not is_live(till - HELD)) then return nil end
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
  local till = h.hold and h.hold > 0 and now + h.hold
  -- The last task of a batch ends before its batch does.
  if h.hold and h.hold < 0 and h.batch and batch(h.batch).unsettled > 0 then till = HELD + batch(h.batch).number end
  if till then
    redis.call('ZADD', q.seen, till, h.unique)
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
