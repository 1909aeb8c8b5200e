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

-- Hands a task out. One whose body somebody else has removed cannot be: it is dropped, and the server's log says so.
local function grant(id, seq)
  if redis.call('HEXISTS', q.body, id) == 1 then return take(id, seq) end
  remove(q, id)
  redis.log(redis.LOG_WARNING, 'manyhands: a task without a body was dropped from ' .. q.info)
end

if full < 0 then
  local alone = redis.call('ZRANGE', q.alone, 0, 0, 'WITHSCORES')
  local first = redis.call('ZRANGE', q.returned, 0, 0, 'WITHSCORES')
  if idle and alone[1] and (not first[1] or tonumber(alone[2]) < tonumber(first[2])) then
    redis.call('ZREM', q.alone, alone[1])
    grant(alone[1], tonumber(alone[2]))
  else
    -- One more look for each that has no body: bounded, whatever was left behind.
    local looks = max + UPKEEP
    while first[1] and looks > 0 and fits(first[1]) do
      redis.call('ZREM', q.returned, first[1])
      grant(first[1], tonumber(first[2]))
      first = redis.call('ZRANGE', q.returned, 0, 0, 'WITHSCORES')
      looks = looks - 1
    end
    local id = not first[1] and redis.call('LINDEX', q.ready, 0)
    while id and looks > 0 and fits(id) do
      redis.call('LPOP', q.ready)
      grant(id)
      id = redis.call('LINDEX', q.ready, 0)
      looks = looks - 1
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
