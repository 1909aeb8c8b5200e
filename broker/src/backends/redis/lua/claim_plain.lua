-- The short way of arrow claim, on queue 0: its first tasks that are ready, where nothing else is to be done and nobody else goes before them.
-- ARGV: channel, max, lease in ms, idle (1 or 0), holder, number of fed queues. The queues from 1 on are fed by it: one that is full holds the claim back.
-- Returns the full queue or -1, how many wait to run alone, ended (1 or 0), ms until the next change or -1, the last sequence given, the epoch of a first claim, and for
-- each task id, body, and what happened to it: '' where this is the first claim and nothing did, else epoch, attempts, crashes, deaths and alone (1 or 0).
local EPOCHS = 1048576
local q = queue(0)
local max, lease, idle, holder = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1', ARGV[5]
local generation = tonumber(redis.call('HGET', KEYS[1], 'epochs_from'))
-- Somebody removed the namespace's key under an open session, which the client takes as the order to open it again.
if not generation then return redis.error_reply('UNOPENED the namespace was removed') end
local info = about(q)
if not info.there then return { -1, 0, 0, -1, 0, 0 } end

local bytes, taken = 0, 0

-- The next epoch after this one.
local function next_epoch(epoch) return math.max(epoch + 1, generation * EPOCHS) end

local reply = { -1, 0, 0, -1, info.added, string.format('%.0f', next_epoch(0)) }

-- What a claim makes of a task that has this sequence.
local function lease_out(p, seq)
  p.epoch = next_epoch(p.epoch)
  p.alone = p.deaths >= 2
  p.holder = holder
  p.seq, p.returned = seq, nil
end

-- The reply's part of a task that is handed out; `p` where anything happened to it.
local function tell(id, body, p)
  local at = #reply
  taken = taken + 1
  reply[at + 1], reply[at + 2] = id, body
  reply[at + 3] = p and string.format('%.0f %d %d %d %d', p.epoch, p.attempts, p.crashes, p.deaths, p.alone and 1 or 0) or ''
end

-- The first entries of ready, their ids, and their bodies as far as they fit into the reply. Fewer bodies than ids say that the next one
-- has none, or would not fit.
local function front(count)
  local entries = redis.call(by_priority(q) and 'ZRANGE' or 'LRANGE', q.ready, 0, count - 1)
  if #entries == 0 then return entries, {}, {} end
  local ids, fitting = {}, {}
  for at, found in ipairs(entries) do ids[at] = string.sub(found, 9) end
  for at, body in ipairs(redis.call('HMGET', q.body, unpack(ids))) do
    if not body or body == '' or taken + at > 1 and bytes + #body > MAX_BYTES then break end
    bytes = bytes + #body
    fitting[at] = body
  end
  return entries, ids, fitting
end

-- Takes the first of ready, of which these are the entries.
local function take_front(entries, count)
  if not by_priority(q) then return redis.call('LPOP', q.ready, count) end
  return redis.call('ZREM', q.ready, unpack(entries, 1, count))
end

-- Hands out the first of ready, all that are asked for: by a few commands for as many tasks as can be told to be small by those that were seen.
-- Tells whether it came to one that is to be looked at alone.
local function hand_out_front()
  local claim, count = plain_claim(next_epoch(0), holder), 8
  -- As a text: a number would be written as one for each task.
  local till = string.format('%.0f', now + lease)
  while taken < max do
    local entries, ids, bodies = front(math.min(max - taken, count))
    if #bodies == 0 then return #ids > 0 end
    local states = redis.call('HMGET', q.state, unpack(ids, 1, #bodies))
    take_front(entries, #bodies)
    local leases, stored_states = {}, {}
    for at, body in ipairs(bodies) do
      local id, seq = parts(entries[at])
      local p = states[at] and parse_state(states[at])
      local never = not p or not p.epoch
      leases[2 * at - 1], leases[2 * at] = till, id
      stored_states[2 * at - 1] = id
      if never and is_plain(body) then
        stored_states[2 * at] = plain_state(claim, seq)
        tell(id, body)
      else
        if never then p = no_progress(seq) end
        lease_out(p, seq)
        stored_states[2 * at] = '\1' .. cmsgpack.pack(p)
        tell(id, body, not never and p or nil)
      end
    end
    if q.expires then redis.call('ZREM', q.expiring, unpack(ids, 1, #bodies)) end
    redis.call('HSET', q.state, unpack(stored_states))
    redis.call('ZADD', q.lease, unpack(leases))
    if #bodies < #ids then return true end
    count = math.max(1, math.min(UPKEEP, math.floor(MAX_BYTES * taken / bytes)))
  end
  return false
end

-- The lowest score of a set.
local function lowest(set) return tonumber(redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2]) end

-- A claim of others may be the next change, at this time.
local function tell_next(at)
  if not at then return end
  local left = math.max(0, at - now)
  if reply[4] < 0 or left < reply[4] then reply[4] = left end
end

-- Whether there is nothing to do but to hand out what is ready.
local function is_clear()
  if ARGV[6] ~= '0' or info.closed or info.paused or info.limits or info.ghosts > 0 then return false end
  if info.died and info.died + KEEP_DEAD <= now or info.forget and info.forget <= now then return false end
  return redis.call('EXISTS', q.alone, q.returned, q.expiring) == 0
end

if is_clear() then
  local due, deadline = lowest(q.due), lowest(q.lease)
  if not (due and due <= now or deadline and deadline <= now) then
    local stopped = hand_out_front()
    if taken > 0 or not stopped then
      tell_next(due)
      tell_next(deadline)
      tell_next(taken > 0 and now + lease)
      if stopped then reply[4] = 0 end
      return reply
    end
  end
end
