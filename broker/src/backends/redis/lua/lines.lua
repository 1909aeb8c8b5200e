-- Arrows hold and admit: of the tasks with one key only so many run at a time. As machine/limit.rs.
--
-- A task takes a permit of its key when it becomes ready and has it until its lease ends. Permits are entries and not counted numbers, so
-- that each of them can be told right or wrong by its task alone. A key has no control characters, so a zero byte ends it.

-- Eight bytes that sort as the numbers do.
local function sorting(number)
  local bytes = struct.pack('>i8', number)
  return string.char((string.byte(bytes) + 128) % 256) .. string.sub(bytes, 2)
end

-- What orders the entry of a task that was given back.
local function score(q, seq, h)
  local order = about(q).order
  if order == 'priority' then return h.priority or 0 end
  return order == 'lifo' and -seq or seq
end

-- The entry of a task in held: its key, its rank and place, and its id. As machine::held_place: what was given
-- back goes first, as its sequence is from when it got its permit, and those that wait since before that have lower ones.
local function held_entry(q, id, p, h)
  local place = about(q).order == 'lifo' and -p.seq or p.seq
  if p.returned then place = place - 2 ^ 52 end
  return h.key .. '\0' .. sorting(h.priority or 0) .. sorting(place) .. id
end

-- The entry of a task in permits: `what` is 'r' while it is ready and 'l' while it is leased.
local function permit(id, h, what)
  return h.key .. '\0' .. what .. id
end

local function give_back_permit(q, id, h)
  redis.call('ZREM', q.permits, permit(id, h, 'r'), permit(id, h, 'l'))
end

-- The first of those of a key that are held.
local function first_held(q, key)
  return redis.call('ZRANGEBYLEX', q.held, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 1)[1]
end

-- Whether one more of a key may become ready. With an interval, a second one that is ready could be claimed too soon after the first.
local function may_go(q, key)
  local info = about(q)
  if info.key_interval > 0 then
    local opens = redis.call('ZSCORE', q.opening, key)
    if opens and tonumber(opens) > now then return false end
    if redis.call('ZLEXCOUNT', q.permits, '[' .. key .. '\0r', '(' .. key .. '\0s') > 0 then return false end
  end
  return not info.key_limit or redis.call('ZLEXCOUNT', q.permits, '[' .. key .. '\0', '(' .. key .. '\1') < info.key_limit
end

-- Makes a task with a key ready: one that was given back where it stood, any other one under a new sequence.
local function let_in(q, id, p, h, was_held)
  local seq, order = next_sequence(q), about(q).order
  local alone = (p.deaths or 0) >= 2
  if p.returned or alone or order == 'priority' then
    if not p.returned then
      p.seq = seq
      save(q, id, p)
    end
    local to = alone and q.alone or order == 'priority' and q.ready or q.returned
    redis.call('ZADD', to, score(q, p.seq, h), entry(p.seq, id))
  else
    redis.call(order == 'lifo' and 'LPUSH' or 'RPUSH', q.ready, entry(seq, id))
    -- In a list its entry says where it is.
    if was_held and not p.epoch then redis.call('HDEL', q.state, id) end
  end
  redis.call('ZADD', q.permits, 0, permit(id, h, 'r'))
  q.got_ready = true
end

-- Lets tasks of a key become ready, as many as may.
local function admit(q, key)
  for _ = 1, UPKEEP do
    local first = first_held(q, key)
    if not first or not may_go(q, key) then return end
    redis.call('ZREM', q.held, first)
    local id = string.sub(first, #key + 18)
    local body = redis.call('HGET', q.body, id)
    if body then
      let_in(q, id, stored(q, id), header(body), true)
    else
      -- Somebody else has removed its body.
      redis.call('ZREM', q.expiring, id)
      remove(q, id)
    end
  end
end

-- Lets tasks become ready of the first keys for which any wait, a bounded number of them: what holds them may be another thing than before.
local function admit_all(q)
  local from = '-'
  for _ = 1, UPKEEP do
    local first = redis.call('ZRANGEBYLEX', q.held, from, '+', 'LIMIT', 0, 1)[1]
    if not first then return end
    local key = string.match(first, '^[^%z]*')
    admit(q, key)
    from = '[' .. key .. '\1'
  end
end

-- Puts a task with a key that is in no place, under its sequence, where it can be claimed or where it waits for its key.
local function stand_in_line(q, id, p, h, saved)
  if not first_held(q, h.key) and may_go(q, h.key) then return let_in(q, id, p, h, false) end
  if not saved then save(q, id, p) end
  redis.call('ZADD', q.held, 0, held_entry(q, id, p, h))
  admit(q, h.key)
end
