-- Batches: what is counted of tasks that belong together. As machine/batch.rs.
--
-- KEYS[2], batches  HASH  name -> number, unsettled, done, dead, cancelled, changes. A batch with unsettled tasks is live; `changes` counts
--                         what happened to it, so that somebody who counts its tasks can tell that none came or went meanwhile
-- KEYS[3], numbers  HASH  the numbers of live batches -> name
-- KEYS[4], ended    ZSET  names of batches that have ended, by until when that is known, in ms

local MAX_BATCHES, KEEP_BATCH = 10000, 3600000

-- A key that is held for the life of a batch is in `seen` until this and the number of the batch: later than any time.
local HELD = 2 ^ 52

-- Those that were read; `finish` writes the changed ones.
local batches = {}

-- The tasks that the present step has settled: the queue, the batch, and how.
local settled = {}

local function batch(name)
  if not batches[name] then
    local record = redis.call('HGET', KEYS[2], name) or ''
    local number, unsettled, done, dead, cancelled, changes = string.match(record, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
    batches[name] = {
      number = tonumber(number or 0), unsettled = tonumber(unsettled or 0), done = tonumber(done or 0), dead = tonumber(dead or 0),
      cancelled = tonumber(cancelled or 0), changes = tonumber(changes or 0),
    }
  end
  return batches[name]
end

local function note_change(b)
  b.changes = b.changes + 1
  b.changed = true
end

local function is_live(number)
  return redis.call('HEXISTS', KEYS[3], string.format('%.0f', number)) == 1
end

-- Begins a batch, or one more of its name.
local function begin_batch(name, b)
  b.number = redis.call('HINCRBY', KEYS[1], 'batches', 1)
  b.done, b.dead, b.cancelled = 0, 0, 0
  redis.call('HSET', KEYS[3], string.format('%.0f', b.number), name)
  redis.call('ZREM', KEYS[4], name)
end

-- Ends a batch of which nothing is unsettled.
local function end_batch(name, b)
  redis.call('HDEL', KEYS[3], string.format('%.0f', b.number))
  redis.call('ZADD', KEYS[4], now + KEEP_BATCH, name)
end

-- A task comes to its batch, and begins it if it is the first.
local function join(h)
  if not h.batch then return end
  local b = batch(h.batch)
  if b.unsettled == 0 then begin_batch(h.batch, b) end
  b.unsettled = b.unsettled + 1
  note_change(b)
end

-- A task that died comes back. In a batch that goes on, it is no more among its dead.
local function rejoin(h)
  if not h.batch then return end
  local b = batch(h.batch)
  if b.unsettled > 0 then b.dead = math.max(b.dead - 1, 0) end
  join(h)
end

-- A task was settled: `count_settled` counts it.
local function leave_batch(q, h, fate)
  if h.batch then settled[#settled + 1] = { q = q, name = h.batch, fate = fate } end
end

local function write_batches()
  for name, b in pairs(batches) do
    if b.changed then
      local numbers = { b.number, b.unsettled, b.done, b.dead, b.cancelled, b.changes }
      for at, number in ipairs(numbers) do numbers[at] = string.format('%.0f', number) end
      redis.call('HSET', KEYS[2], name, table.concat(numbers, ' '))
      b.changed = nil
    end
  end
end
