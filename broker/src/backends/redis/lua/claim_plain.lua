-- The short way of arrow claim, on queue 0: its first tasks that are ready, where nothing else is to be done and nobody else goes before them.
-- ARGV: channel, max, lease in ms, idle (1 or 0), holder, number of fed queues, and two digits: whether the session wants credit, and whether it may have some.
-- The queues from 1 on are fed by it: one that is full holds the claim back.
-- Returns the full queue or -1, how many wait to run alone, ended (1 or 0), ms until the next change or -1, the last sequence given, the epoch of a first claim, the server's
-- clock in ms, and for each task id, body, and what happened to it: '' where this is the first claim and nothing did, else epoch, attempts, crashes, deaths and alone (1 or 0).
local q = queue(0)
local max, lease, idle, holder = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1', ARGV[5]
local generation = tonumber(redis.call('HGET', KEYS[1], 'epochs_from'))
-- Somebody removed the namespace's key under an open session, which the client takes as the order to open it again.
if not generation then return redis.error_reply('UNOPENED the namespace was removed') end
local info = about(q)
if not info.there then return { -1, 0, 0, -1, 0, 0, now } end

local bytes, taken = 0, 0

local reply = { -1, 0, 0, -1, info.added, string.format('%.0f', next_epoch(0, generation)), now }

-- What a claim makes of a task that has this sequence.
local function lease_out(p, seq)
  p.epoch = next_epoch(p.epoch, generation)
  p.alone = p.deaths >= 2
  p.holder = holder
  p.seq, p.returned = seq, nil
end

-- What the reply tells of a task to which anything happened.
local function history(p)
  return string.format('%.0f %d %d %d %d', p.epoch, p.attempts, p.crashes, p.deaths, p.alone and 1 or 0)
end

-- The first entries of ready, their ids, and their bodies as far as they fit into the reply. Fewer bodies than ids say that the next one
-- has none, or would not fit.
local function front(count)
  local entries = redis.call(by_priority(q) and 'ZRANGE' or 'LRANGE', q.ready, 0, count - 1)
  if #entries == 0 then return entries, {}, {} end
  local ids, fitting = {}, {}
  for at = 1, #entries do ids[at] = sub(entries[at], 9) end
  local bodies = redis.call('HMGET', q.body, unpack(ids))
  for at = 1, #ids do
    local body = bodies[at]
    if not body or body == '' or taken + at > 1 and bytes + #body > MAX_BYTES then break end
    bytes = bytes + #body
    fitting[at] = body
  end
  return entries, ids, fitting
end

-- Takes the first of ready, of which these are the entries.
local function take_front(entries, count)
  -- As LPOP, which would tell them once more.
  if not by_priority(q) then return redis.call('LTRIM', q.ready, count, -1) end
  return redis.call('ZREM', q.ready, unpack(entries, 1, count))
end

-- Hands out the first of ready, all that are asked for: by a few commands for as many tasks as can be told to be small by those that were seen.
-- Tells whether it came to one that is to be looked at alone.
local function hand_out_front()
  local first = next_epoch(0, generation)
  local claim, count = plain_claim(first, holder), 8
  -- As a text: a number would be written as one for each task.
  local till = string.format('%.0f', now + lease)
  while taken < max do
    local entries, ids, bodies = front(math.min(max - taken, count))
    if #bodies == 0 then return #ids > 0 end
    local states = redis.call('HMGET', q.state, unpack(ids, 1, #bodies))
    take_front(entries, #bodies)
    local leases, stored_states, leased = {}, {}, #bodies > 1 and redis.call('ZCARD', q.lease) or 0
    local last = #reply - 3
    for at = 1, #bodies do
      local id, body, state, entry = ids[at], bodies[at], states[at], entries[at]
      local p = state and parse_state(state)
      local told = ''
      if p and p.epoch then
        lease_out(p, (struct.unpack('>I8', entry)))
        state, told = '\1' .. cmsgpack.pack(p), history(p)
      else
        state = first_state(body, claim, first, holder, entry)
      end
      local place = 2 * at
      leases[place - 1], leases[place] = till, id
      stored_states[place - 1], stored_states[place] = id, state
      place = last + 3 * at
      reply[place + 1], reply[place + 2], reply[place + 3] = id, body, told
    end
    taken = taken + #bodies
    if q.expires then redis.call('ZREM', q.expiring, unpack(ids, 1, #bodies)) end
    hset(q.state, leased, stored_states)
    zadd(q.lease, leased, leases)
    if #bodies < #ids then return true end
    count = math.max(1, math.min(UPKEEP, math.floor(MAX_BYTES * taken / bytes)))
  end
  return false
end

-- A claim of others may be the next change, at this time.
local function tell_next(at)
  if not at then return end
  local left = math.max(0, at - now)
  if reply[4] < 0 or left < reply[4] then reply[4] = left end
end

-- Gives the session credit, if there is room, or takes it back.
local function settle_credit(has_room)
  local wants = has_room and string.byte(ARGV[7]) == 49 and not (info.limits or by_priority(q))
  if not wants and string.byte(ARGV[7], 2) ~= 49 then return end
  local session = holder .. struct.pack('>I4', lease)
  if wants then return give_credit(q, session) end
  redis.call('ZREM', q.credit, session)
end

local clear, due, deadline
if ARGV[6] == '0' then clear, due, deadline = is_clear(q) end
if clear then
  local stopped = hand_out_front()
  if taken > 0 or not stopped then
    tell_next(due)
    tell_next(deadline)
    tell_next(taken > 0 and now + lease)
    if stopped then reply[4] = 0 end
    settle_credit(not stopped and taken < max)
    return reply
  end
end
