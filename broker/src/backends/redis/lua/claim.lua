-- Arrows lapse, promote, expire and claim, on queue 0, where the short way does not go: see `claim_plain.lua`.
local full = -1
for index = tonumber(ARGV[6]), 1, -1 do
  if is_full(queue(index)) then full = index end
end

-- Drops a task whose body somebody else has removed, and the server's log says so.
local function drop(id)
  redis.call('ZREM', q.lease, id)
  redis.call('ZREM', q.expiring, id)
  remove(q, id)
  redis.log(redis.LOG_WARNING, 'manyhands: a task without a body was dropped from ' .. q.info)
end

-- Arrow lapse, of a task that was taken out of where it was.
local function lapse(id, p, h)
  redis.call('ZREM', q.expiring, id)
  fail(p, 'not claimed before it expired')
  go_dead(q, id, p, h)
end

-- Arrow promote, of a task that was taken out of due. One that must run alone was charged with a crash, and comes back under its sequence.
local function promote(id)
  local p = stored(q, id)
  local comes_back = p.deaths and p.deaths >= 2
  if not by_priority(q) and not info.limits and not comes_back then return line_up(q, id) end
  local body = redis.call('HGET', q.body, id)
  if not body then return drop(id) end
  local h = header(body)
  if comes_back then return give_back(q, id, p, h) end
  if not h.key then return line_up(q, id, p, h) end
  p.seq = next_sequence(q)
  p.returned = nil
  stand_in_line(q, id, p, h)
end

-- Arrow expire: the lease ran out. As machine::Progress::expire.
local function expire(id, p)
  local body = redis.call('HGET', q.body, id)
  if not body then return drop(id) end
  local h = header(body)
  note_failure(p, 'the process that held it died, or its lease ran out')
  p.deaths = p.deaths + 1
  if p.alone then p.crashes = p.crashes + 1 end
  p.alone = false
  if p.crashes >= h.max_crashes then
    p.error = p.deaths .. ' processes died in a row while they held it, ' .. p.crashes .. ' of them while they ran nothing else'
    go_dead(q, id, p, h)
  elseif p.cancelled then
    go(q, id, p, h, 'C')
  else
    go_ready(q, id, p, h)
  end
end

-- First what nobody claimed in its time. Only if there is more of it than this, a task that is ready can be one of those.
local over = redis.call('ZRANGEBYSCORE', q.expiring, '-inf', now, 'WITHSCORES', 'LIMIT', 0, UPKEEP)
local late = {}
for at = 1, #over, 2 do
  late[#late + 1] = { id = over[at], till = tonumber(over[at + 1]), text = string.sub(over[at], 1, 1) == 't', at = at }
end
-- Of those whose time is over together, UUIDs before texts, as the machine does.
table.sort(late, function(a, b)
  if a.till ~= b.till then return a.till < b.till end
  if a.text ~= b.text then return b.text end
  return a.at < b.at
end)
for _, task in ipairs(late) do
  local p, body = progress(q, task.id), redis.call('HGET', q.body, task.id)
  local h = header(body or '')
  leave(q, task.id, p, h)
  if body then lapse(task.id, p, h) else drop(task.id) end
end
local lagging = #late == UPKEEP

for _, at in ipairs(redis.call('ZRANGEBYSCORE', q.due, '-inf', now, 'LIMIT', 0, UPKEEP)) do
  redis.call('ZREM', q.due, at)
  promote((parts(at)))
  q.got_ready = true
end

over = redis.call('ZRANGEBYSCORE', q.lease, '-inf', now, 'WITHSCORES', 'LIMIT', 0, UPKEEP)
local expired = {}
for at = 1, #over, 2 do
  expired[#expired + 1] = { id = over[at], till = tonumber(over[at + 1]), p = progress(q, over[at]) }
end
-- Of those that run out together, the one first that was first in the queue.
table.sort(expired, function(a, b)
  if a.till ~= b.till then return a.till < b.till end
  return a.p.seq < b.p.seq
end)
for _, task in ipairs(expired) do expire(task.id, task.p) end

-- Keys whose interval is over let a task go. One may have begun before the queue lost its interval.
if info.limits then
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', q.opening, '-inf', now, 'LIMIT', 0, UPKEEP)) do
    redis.call('ZREM', q.opening, key)
    admit(q, key)
  end
end

if info.died and info.died + KEEP_DEAD <= now then forget_dead(q) end
forget_sometimes(q)

reply[1] = full
-- One more look for each ghost, each that has no body and each whose time is over: bounded, whatever was left behind.
local looks = max + UPKEEP

-- The first entry of a set, and its score.
local function first_of(set)
  local found = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  return found[1], tonumber(found[2])
end

-- The first of those that run beside others, its score, and whether it was given back and so is in `returned`.
local function first()
  if by_priority(q) then
    return first_of(q.ready)
  end
  local at, by = first_of(q.returned)
  if at then return at, by, true end
  return redis.call('LINDEX', q.ready, 0) or nil
end

local function take_out(at, returned)
  if returned then return redis.call('ZREM', q.returned, at) end
  if by_priority(q) then return redis.call('ZREM', q.ready, at) end
  return redis.call('LPOP', q.ready)
end

-- Hands a task out that was taken out of ready, returned or alone, unless its time is over.
local function grant(id, seq)
  local p = progress(q, id)
  local never = p.epoch == 0
  local body = redis.call('HGET', q.body, id)
  local till = never and lagging and redis.call('ZSCORE', q.expiring, id)
  if till and tonumber(till) <= now then return lapse(id, p, header(body)) end
  lease_out(p, seq)
  if never and q.expires then redis.call('ZREM', q.expiring, id) end
  save(q, id, p)
  redis.call('ZADD', q.lease, now + lease, id)
  local h = info.limits and header(body)
  if h and h.key then
    redis.call('ZREM', q.permits, permit(id, h, 'r'))
    redis.call('ZADD', q.permits, 0, permit(id, h, 'l'))
    if info.key_interval > 0 then redis.call('ZADD', q.opening, now + info.key_interval, h.key) end
  end
  local at = #reply
  taken = taken + 1
  reply[at + 1], reply[at + 2], reply[at + 3] = id, body, history(p)
end

-- Whether tasks can be taken from the front of ready without a look at each: none of them is a ghost, has a key or a time that may be over.
local function is_simple() return info.ghosts == 0 and not info.limits and not lagging end

-- Whether `alone` goes before all that run beside others: in the order of scores, then of sequences.
local function before(alone, alone_score, at, by, returned)
  if not at then return true end
  -- What was never claimed is behind all that was given back.
  if not by_priority(q) and not returned then return true end
  if alone_score ~= by then return alone_score < by end
  local _, seq = parts(alone)
  local _, other = parts(at)
  return seq < other
end

local function hand_out()
  local alone, alone_score = first_of(q.alone)
  local at, by, returned = first()
  if idle and alone and before(alone, alone_score, at, by, returned) then
    redis.call('ZREM', q.alone, alone)
    local id, seq = parts(alone)
    if redis.call('HEXISTS', q.body, id) == 1 then return grant(id, seq) end
    return drop(id)
  end
  local simple = is_simple()
  while at and taken < max and looks > 0 do
    if simple and not returned then
      hand_out_front()
      -- What stopped it is looked at alone.
      simple = false
    else
      local id, seq = parts(at)
      local length = redis.call('HSTRLEN', q.body, id)
      if taken > 0 and bytes + length > MAX_BYTES then break end
      take_out(at, returned)
      if returned or by_priority(q) or not was_ghost(q, id, seq) then
        if length > 0 then
          bytes = bytes + length
          grant(id, seq)
        else
          drop(id)
        end
      end
      looks = looks - 1
    end
    at, by, returned = first()
  end
  -- Not all was looked at, or would not fit: there are tasks to claim at once, or may be.
  if at and taken < max then reply[4] = 0 end
end

q.expires = lowest(q.expiring)
if full < 0 and not info.paused then hand_out() end

reply[2] = redis.call('ZCARD', q.alone)
q.unsettled = nil
if info.closed and unsettled(q) == 0 then reply[3] = 1 end
reply[5] = info.added
tell_next(lowest(q.due))
tell_next(lowest(q.lease))
if q.expires then tell_next(lowest(q.expiring)) end
if info.limits then tell_next(lowest(q.opening)) end
settle_credit(full < 0 and taken < max)
finish(ARGV[1])
return reply
