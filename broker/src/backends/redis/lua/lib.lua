-- What all scripts share; each is this file followed by its own.
--
-- KEYS[1] is the namespace's HASH: format, oldest_reader, oldest_writer, server, generation.
-- Then follow ten keys for each queue that a script touches, in the order of `queue` below. A script names a queue by
-- its index, from 0.
--
-- A task is in exactly one of ready, returned, alone, due, lease and dead:
--   ready     LIST   ids that wait, first in first out
--   returned  ZSET   ids that were given back, by the sequence that they had; they go before all of ready
--   alone     ZSET   the same for ids that must run alone
--   due       ZSET   ids that become ready, by when, in ms
--   lease     ZSET   ids that are held, by until when, in ms. There is no second list of what runs
--   dead      ZSET   ids that were given up, by the order in which they were
-- and has
--   body      HASH   id -> what was enqueued: a format byte, a line of JSON, the payload. Never changed
--   state     HASH   id -> what happened since: a format byte and msgpack. Missing before the first claim
-- remembered ZSET    given ids that were settled, by until when, in ms
-- info       HASH    options, closed, and the counters of sequences and deaths
--
-- The sequence is given when an id leaves `ready`: what leaves first has the lowest, and lower than all that stay.

local UPKEEP, MAX_DEAD, MAX_REMEMBERED, MAX_ERROR = 256, 10000, 1000000, 4096
local CAPACITY, REMEMBER_IDS = 1000000, 3600000
local MAX_PARKED = 3600000
local EPOCHS = 1048576

-- The server's clock, in ms; no client's is ever compared with it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Whether something happened that others may wait for.
local news = false

local function queue(index)
  local base = 2 + index * 10
  return {
    info = KEYS[base], body = KEYS[base + 1], state = KEYS[base + 2], ready = KEYS[base + 3],
    returned = KEYS[base + 4], alone = KEYS[base + 5], due = KEYS[base + 6], lease = KEYS[base + 7],
    dead = KEYS[base + 8], remembered = KEYS[base + 9],
  }
end

-- Makes a queue with defaults if it is missing.
local function create(q)
  if redis.call('EXISTS', q.info) == 0 then
    redis.call('HSET', q.info, 'capacity', CAPACITY, 'remember_ids', REMEMBER_IDS, 'revision', 1,
      'configured', 0, 'closed', 0, 'added', 0, 'popped', 0, 'deaths', 0)
  end
end

local function count_ready(q)
  return redis.call('LLEN', q.ready) + redis.call('ZCARD', q.returned) + redis.call('ZCARD', q.alone)
end

local function unsettled(q)
  return count_ready(q) + redis.call('ZCARD', q.due) + redis.call('ZCARD', q.lease)
end

local function is_full(q)
  local capacity = redis.call('HGET', q.info, 'capacity')
  return capacity and unsettled(q) >= tonumber(capacity)
end

local function is_closed(q)
  return redis.call('HGET', q.info, 'closed') == '1'
end

-- What happened to a task that was never claimed: nothing.
local function no_progress()
  return { epoch = 0, attempts = 0, crashes = 0, deaths = 0, parks = 0, since = 0, seq = 0, alone = false, holder = '', error = '' }
end

-- What happened to a task since it was enqueued: machine::Progress, and the sequence and holder of its last claim.
local function progress(q, id)
  local stored = redis.call('HGET', q.state, id)
  if stored then
    return cmsgpack.unpack(string.sub(stored, 2))
  end
  return no_progress()
end

local function save(q, id, p)
  redis.call('HSET', q.state, id, '\1' .. cmsgpack.pack(p))
end

-- The line of JSON in a body: name, given, max_attempts, max_crashes.
local function header(body)
  return cjson.decode(string.sub(body, 2, string.find(body, '\n', 1, true) - 1))
end

local function cut(text)
  if #text <= MAX_ERROR then return text end
  local last = MAX_ERROR
  -- Not in the middle of a character: continuation bytes are 128 to 191.
  while last > 0 and string.byte(text, last + 1) >= 128 and string.byte(text, last + 1) < 192 do last = last - 1 end
  return string.sub(text, 1, last)
end

-- Arrow enqueue: whether the id is on the queue or remembered.
local function exists(q, id)
  if redis.call('HEXISTS', q.body, id) == 1 then return true end
  local remembered = redis.call('ZSCORE', q.remembered, id)
  if not remembered then return false end
  if tonumber(remembered) > now then return true end
  redis.call('ZREM', q.remembered, id)
  return false
end

local function add(q, id, body)
  create(q)
  redis.call('HSET', q.body, id, body)
  redis.call('RPUSH', q.ready, id)
  redis.call('HINCRBY', q.info, 'added', 1)
  news = true
end

local function remove(q, id)
  redis.call('HDEL', q.body, id)
  redis.call('HDEL', q.state, id)
end

local function remember(q, id)
  local ms = tonumber(redis.call('HGET', q.info, 'remember_ids'))
  if ms == 0 then return end
  redis.call('ZADD', q.remembered, now + ms, id)
  local past = redis.call('ZRANGEBYSCORE', q.remembered, '-inf', now, 'LIMIT', 0, UPKEEP)
  if #past > 0 then redis.call('ZREM', q.remembered, unpack(past)) end
  local over = redis.call('ZCARD', q.remembered) - MAX_REMEMBERED
  if over > 0 then redis.call('ZREMRANGEBYRANK', q.remembered, 0, over - 1) end
end

-- Where a task goes when its lease ends: machine::Fate.
local function go_ready(q, id, p)
  redis.call('ZREM', q.lease, id)
  redis.call('ZADD', p.deaths >= 2 and q.alone or q.returned, p.seq, id)
  save(q, id, p)
  news = true
end

local function go_scheduled(q, id, p, due)
  redis.call('ZREM', q.lease, id)
  redis.call('ZADD', q.due, due, id)
  save(q, id, p)
  news = true
end

local function go_dead(q, id, p)
  redis.call('ZREM', q.lease, id)
  redis.call('ZADD', q.dead, redis.call('HINCRBY', q.info, 'deaths', 1), id)
  save(q, id, p)
  local over = redis.call('ZCARD', q.dead) - MAX_DEAD
  if over > 0 then
    for _, oldest in ipairs(redis.call('ZRANGE', q.dead, 0, over - 1)) do
      redis.call('ZREM', q.dead, oldest)
      remove(q, oldest)
    end
  end
  news = true
end

-- Arrow expire: the lease ran out. As machine::Progress::expire.
local function expire(q, id)
  local p = progress(q, id)
  local body = redis.call('HGET', q.body, id)
  p.deaths = p.deaths + 1
  if p.alone then p.crashes = p.crashes + 1 end
  p.alone = false
  if not body or p.crashes < header(body).max_crashes then
    go_ready(q, id, p)
  else
    p.error = p.deaths .. ' processes died in a row while they held it, ' .. p.crashes .. ' of them while they ran nothing else'
    go_dead(q, id, p)
  end
end

-- Whether id, epoch and holder all match; returns the progress if so.
local function held(q, id, epoch, holder)
  if not redis.call('ZSCORE', q.lease, id) then return nil end
  -- Without its body a task cannot be settled; when its lease runs out, the next claim drops it.
  if redis.call('HEXISTS', q.body, id) == 0 then return nil end
  local p = progress(q, id)
  if p.epoch == epoch and p.holder == holder then return p end
  return nil
end

-- Tells those who wait, if there is something to tell. The last step of every script that changes something.
local function finish(channel)
  if news then redis.call('PUBLISH', channel, '1') end
end
