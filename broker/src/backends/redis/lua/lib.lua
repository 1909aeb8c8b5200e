-- What every script begins with: where things are, and how a queue stands. What the scripts have besides is told by `scripts.rs`.
--
-- KEYS[1] is the namespace's HASH: format, oldest_reader, oldest_writer, server, epochs_from (the generation), batches (the last number given to one).
-- KEYS[2] to KEYS[4] are those of its batches, see `batches.lua`. Then follow twenty keys for each queue that a script touches, in the order of
-- `queue` below. A script names a queue by its index, from 0.
--
-- An *entry* is a sequence in 8 bytes, the highest first, and an id. A *score* is what orders entries: the sequence (fifo), minus
-- the sequence (lifo), or the priority, where equal ones go by the sequence in the entry.
--
-- A task is in exactly one of ready, returned, alone, due, held, lease and dead:
--   ready     fifo, lifo: LIST of entries that wait, the next one first; and of ghosts, see below.
--             priority: ZSET of entries by score, those that were given back too
--   returned  ZSET   fifo, lifo: entries of tasks that were given back, by score; they go before all of ready
--   alone     ZSET   entries of tasks that were given back and must run alone, by score
--   due       ZSET   entries that become ready, by when, in ms; under a new sequence then, unless they are to run alone
--   held      ZSET   tasks that wait for their key, all with score 0: the key, a zero byte, rank and place in 16 bytes, the id
--   lease     ZSET   ids that somebody has, by until when, in ms. There is no second list of what runs
--   dead      ZSET   ids that were given up, by the order in which they were
-- and has
--   body      HASH   id -> what was enqueued. Never changed. Format 2: the name, a line end, options as JSON or nothing (see `header`), a line end, the payload.
--             Format 3, in a ready that is a ZSET: the sequence in 8 bytes, and then as 2. Format 1: the name among the options, and all of these are there
--   state     HASH   id -> what happened since. Format 1: msgpack. Format 2, after the first claim of a plain task (see `plain.lua`): epoch in 8 bytes, holder,
--             sequence in 8 bytes. Missing before the first claim, but for the sequence of a task that began in due or in held
-- and may be in
--   expiring  ZSET   ids that nobody claimed yet, by the ms from which on nobody will
--   unique    HASH   unique key -> the id that holds it: of an unsettled task, or of one that is in seen
--   permits   ZSET   tasks with a key that are ready or leased, all with score 0: the key, a zero byte, r or l, the id
--   opening   ZSET   keys of which a task was claimed, by when their interval is over, in ms
--
-- Who waits for tasks:
--   credit    ZSET   sessions to which the next task is sent ahead, by since when, in ms: see `credit.lua`
--
-- What is known of tasks that ended:
--   seen       ZSET  unique keys that are held after the end of their task, by until when, in ms; or by HELD and the number of their batch
--   remembered ZSET  given ids that were settled or cancelled, by until when, in ms
--   results    HASH  id -> a format byte, and D and the result, or C for one that was cancelled
--   until      ZSET  the ids of results, by until when they are kept, in ms
--
-- A list cannot let go of an entry in its middle. A task that leaves it otherwise than by a claim leaves a *ghost*, which the claim drops
-- that comes upon it:
--   gone      HASH   id -> how many entries of ready are ghosts of it, a colon, and the highest sequence of theirs
--
-- info       HASH    capacity, remember_ids (ms), order, revision, configured (1 or 0), closed (1 or 0), added (the last sequence given),
--                    deaths (the last order of death given); and, where they are not 0: paused (1; and paused_by, who did so, and
--                    paused_at, when, in ms), ghosts (how many),
--                    died (ms; nobody who is dead died earlier), forget (ms; when to look for what need not be known any more),
--                    swept (up to which score the keys of batches were looked at), key_limit, key_interval (ms)

-- How many are looked at in one step.
local UPKEEP = 256
local CAPACITY, REMEMBER_IDS, KEEP_DEAD = 1000000, 3600000, 604800000
-- One reply carries no more than this (the largest call of four tasks, and some more), but always one task: a server closes the
-- connection of a subscriber that it owes too much, 32 MB by default.
local MAX_BYTES = 5242880

-- The server's clock, in ms; no client's is ever compared with it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The queues that were touched, by index. What others may wait for is noted in them: `got_ready`, that a task can be claimed sooner than was known, and `got_settled`, that
-- one has ended, or that there may be room.
local queues = {}
-- Whether all who wait for anything are to hear of it.
local news_for_all = false

local function queue(index)
  if not queues[index] then
    local base = 5 + index * 20
    queues[index] = {
      info = KEYS[base], body = KEYS[base + 1], state = KEYS[base + 2], ready = KEYS[base + 3], gone = KEYS[base + 4],
      returned = KEYS[base + 5], alone = KEYS[base + 6], due = KEYS[base + 7], lease = KEYS[base + 8], dead = KEYS[base + 9],
      expiring = KEYS[base + 10], unique = KEYS[base + 11], seen = KEYS[base + 12], remembered = KEYS[base + 13],
      results = KEYS[base + 14], untils = KEYS[base + 15], held = KEYS[base + 16], permits = KEYS[base + 17], opening = KEYS[base + 18],
      credit = KEYS[base + 19],
    }
  end
  return queues[index]
end

-- What `info` says, read once. A missing queue is as one with defaults, but not `there`.
local function about(q)
  if not q.about then
    local have = redis.call('HMGET', q.info, 'capacity', 'remember_ids', 'order', 'closed', 'paused', 'added', 'ghosts', 'died', 'forget',
      'swept', 'key_limit', 'key_interval')
    q.about = {
      there = have[1] and true, capacity = tonumber(have[1] or CAPACITY), remember_ids = tonumber(have[2] or REMEMBER_IDS),
      order = have[3] or 'fifo', closed = have[4] == '1', paused = have[5] == '1', added = tonumber(have[6] or 0),
      ghosts = tonumber(have[7] or 0), died = tonumber(have[8] or nil), forget = tonumber(have[9] or nil), swept = tonumber(have[10] or nil),
      key_limit = tonumber(have[11] or nil), key_interval = tonumber(have[12] or 0) or 0,
    }
    q.about.limits = q.about.key_limit ~= nil or q.about.key_interval > 0
  end
  return q.about
end

-- Makes a queue with defaults if it is missing.
local function create(q)
  if about(q).there then return end
  redis.call('HSET', q.info, 'capacity', CAPACITY, 'remember_ids', REMEMBER_IDS, 'order', 'fifo', 'revision', 1,
    'configured', 0, 'closed', 0, 'added', 0, 'deaths', 0)
  q.about.there = true
end

local function by_priority(q)
  return about(q).order == 'priority'
end

-- Of all tasks that have a body. Counted once; from then on whoever adds a task counts it.
local function unsettled(q)
  if not q.unsettled then q.unsettled = redis.call('HLEN', q.body) - redis.call('ZCARD', q.dead) end
  return q.unsettled
end

local function is_full(q)
  return about(q).there and unsettled(q) >= q.about.capacity
end

-- The next sequence. `finish` writes the last one.
local function next_sequence(q)
  local info = about(q)
  info.added = info.added + 1
  q.counted = true
  return info.added
end

local function entry(seq, id)
  return struct.pack('>I8c0', seq, id)
end

-- The id and the sequence of an entry.
local function parts(entry)
  return string.sub(entry, 9), (struct.unpack('>I8', entry))
end

-- A body of format 2 with its sequence: what is in a ZSET could not be found without.
local function with_sequence(body, seq) return '\3' .. struct.pack('>I8', seq) .. string.sub(body, 2) end

-- What happened to a task that was never claimed: nothing.
local function no_progress(seq)
  return { epoch = 0, attempts = 0, crashes = 0, deaths = 0, parks = 0, since = 0, seq = seq, alone = false, holder = '', error = '' }
end

-- What a state says; of a task that was never claimed it may be no more than the sequence.
local function parse_state(state)
  if string.byte(state) ~= 2 then return cmsgpack.unpack(string.sub(state, 2)) end
  local p = no_progress((struct.unpack('>I8', state, 26)))
  p.epoch, p.holder = struct.unpack('>I8', state, 2), string.sub(state, 10, 25)
  return p
end

local function name_of(q) return string.sub(q.info, #KEYS[1] + 7) end

-- Tells a session what became of tasks that it waits for, each as `tell` has it. What one message holds is bounded, as a server closes the connection of a subscriber that it
-- owes too much.
local function tell_session(channel, session, told)
  local own = channel .. ':' .. string.gsub(session, '%x%x', function(digits) return string.char(tonumber(digits, 16)) end)
  for from = 1, #told, 64 do redis.call('PUBLISH', own, '=\n' .. table.concat(told, '', from, math.min(from + 63, #told))) end
end

-- Writes which sequence was the last, and tells those who wait, if there is something to tell: a line for each queue, of r, s or both, a space and its name. No name
-- stands for all queues.
local function end_step(channel)
  local news = { news_for_all and 'rs ' or nil }
  for _, q in pairs(queues) do
    if q.counted then redis.call('HSET', q.info, 'added', string.format('%.0f', q.about.added)) end
    if q.told then
      for session, told in pairs(q.told) do tell_session(channel, session, told) end
    end
    if q.got_ready or q.got_settled then
      news[#news + 1] = (q.got_ready and 'r' or '') .. (q.got_settled and 's' or '') .. ' ' .. name_of(q)
    end
  end
  if #news > 0 then redis.call('PUBLISH', channel, table.concat(news, '\n')) end
end
