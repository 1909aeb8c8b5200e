-- Arrows promote, expire and claim, on queue 0. The queues from 1 on are fed by it: one that is full holds the claim back.
-- ARGV: channel, max, lease in ms, idle (1 or 0), holder, number of fed queues.
-- Returns the full queue or -1, how many wait to run alone, ended (1 or 0), ms until the next change or -1, how many
-- were ever added, and for each task id, body,
-- epoch, attempts, crashes, deaths, alone (1 or 0).
local q = queue(0)
local max, lease, idle, holder = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1', ARGV[5]
local generation = tonumber(redis.call('HGET', KEYS[1], 'generation'))
-- Somebody removed the namespace's key under an open session, which the client takes as the order to open it again.
if not generation then return redis.error_reply('UNOPENED the namespace was removed') end
local full = -1
for index = tonumber(ARGV[6]), 1, -1 do
  if is_full(queue(index)) then full = index end
end
if redis.call('EXISTS', q.info) == 0 then return { -1, 0, 0, -1, 0 } end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', q.due, '-inf', now, 'LIMIT', 0, UPKEEP)) do
  redis.call('ZREM', q.due, id)
  redis.call('RPUSH', q.ready, id)
  news = true
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', q.lease, '-inf', now, 'LIMIT', 0, UPKEEP)) do
  expire(q, id)
end

local reply = { full, 0, 0, -1, tonumber(redis.call('HGET', q.info, 'added')) }

-- One reply carries no more than this (the largest call of four tasks, and some more), but always one task: a server closes the connection of
-- a subscriber that it owes too much, 32 MB by default.
local MAX_BYTES = 5242880
local bytes, taken = 0, 0

local function fits(id)
  bytes = bytes + redis.call('HSTRLEN', q.body, id)
  return taken < max and (taken == 0 or bytes <= MAX_BYTES)
end

local function take(id, seq)
  taken = taken + 1
  local p = progress(q, id)
  p.epoch = math.max(p.epoch + 1, generation * EPOCHS)
  p.alone = p.deaths >= 2
  p.holder = holder
  p.seq = seq or redis.call('HINCRBY', q.info, 'popped', 1)
  save(q, id, p)
  redis.call('ZADD', q.lease, now + lease, id)
  local task = { id, redis.call('HGET', q.body, id), string.format('%.0f', p.epoch), p.attempts, p.crashes, p.deaths, p.alone and 1 or 0 }
  for _, value in ipairs(task) do reply[#reply + 1] = value end
end

if full < 0 then
  local alone = redis.call('ZRANGE', q.alone, 0, 0, 'WITHSCORES')
  local first = redis.call('ZRANGE', q.returned, 0, 0, 'WITHSCORES')
  if idle and alone[1] and (not first[1] or tonumber(alone[2]) < tonumber(first[2])) then
    redis.call('ZREM', q.alone, alone[1])
    take(alone[1], tonumber(alone[2]))
  else
    -- A task without a body is what somebody else left: it is dropped here, where it would stop the queue.
    local function next_of(first, drop, grant)
      local id, seq = first()
      while id do
        if redis.call('HEXISTS', q.body, id) == 0 then
          drop(id)
        elseif fits(id) then
          drop(id)
          grant(id, seq)
        else
          return
        end
        id, seq = first()
      end
    end
    next_of(function()
      local head = redis.call('ZRANGE', q.returned, 0, 0, 'WITHSCORES')
      return head[1], head[1] and tonumber(head[2])
    end, function(id) redis.call('ZREM', q.returned, id) end, take)
    if taken < max and redis.call('ZCARD', q.returned) == 0 then
      next_of(function() return redis.call('LINDEX', q.ready, 0) end, function() redis.call('LPOP', q.ready) end, take)
    end
  end
end

reply[2] = redis.call('ZCARD', q.alone)
if is_closed(q) and unsettled(q) == 0 then reply[3] = 1 end
local due = redis.call('ZRANGE', q.due, 0, 0, 'WITHSCORES')[2]
local deadline = redis.call('ZRANGE', q.lease, 0, 0, 'WITHSCORES')[2]
for _, at in ipairs({ due or false, deadline or false }) do
  if at then
    local left = math.max(0, tonumber(at) - now)
    if reply[4] < 0 or left < reply[4] then reply[4] = left end
  end
end
finish(ARGV[1])
return reply
