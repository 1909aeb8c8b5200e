-- The short way of plain tasks: many of them by a few commands, as most are plain. What says of a task what is kept, counted or let go when it
-- ends is among its options, and a plain one has none. All else goes the long way, in the same script.

-- These run for each task: a name is found sooner that is local.
local byte, find, sub, pack = string.byte, string.find, string.sub, struct.pack

-- A HASH of few fields, and a ZSET of few entries, is one list inside of the server, of up to 512 and 128 by default, in which each look goes through all that stand before. It becomes a table
-- with the first thing in it that is longer than 64 bytes, and stays one until the key is empty. So this one goes in before many, and out after them: a hundred tasks on their way
-- are a quarter less work so, and half of it if they are short. Of more than `GROWN` there is a table already; where the server is set otherwise, nothing changes.
local SHORT, MANY, GROWN = 64, 32, 1024
local LONG = string.rep('-', SHORT + 1)

local function needs_table(before, list)
  local count = before + #list / 2
  return count >= MANY and count <= GROWN
end

-- HSET of fields and values, where there are so many before, as far as that was asked. A value that is long makes the table itself.
local function hset(key, before, fields)
  if #fields[2] > SHORT or not needs_table(before, fields) then return redis.call('HSET', key, unpack(fields)) end
  redis.call('HSET', key, LONG, '', unpack(fields))
  redis.call('HDEL', key, LONG)
end

-- ZADD of scores and entries, where there are so many before.
local function zadd(key, before, entries)
  if not needs_table(before, entries) then return redis.call('ZADD', key, unpack(entries)) end
  redis.call('ZADD', key, 0, LONG, unpack(entries))
  redis.call('ZREM', key, LONG)
end

-- Whether a body is that of a plain task: its first line is followed by an empty one.
local function is_plain(body)
  local format = byte(body)
  local line = format == 2 and find(body, '\n', 2, true) or format == 3 and find(body, '\n', 10, true)
  return line and byte(body, line + 1) == 10
end

-- What is stored of a plain task at its first claim, but for its sequence. That it is stored says that the task is plain, has this epoch and this holder, and that
-- nothing happened to it since.
local function plain_claim(epoch, holder) return '\2' .. pack('>I8', epoch) .. holder end

-- What is stored of a task at its first claim, whatever its options are; `claim` is that of a plain one, with the same epoch and holder. Of the entry only the sequence counts.
local function first_state(body, claim, epoch, holder, entry)
  -- One string, not two: each that a script makes is looked up in all that there are.
  if is_plain(body) then return pack('c25c8', claim, entry) end
  local p = no_progress((struct.unpack('>I8', entry)))
  p.epoch, p.holder = epoch, holder
  return '\1' .. cmsgpack.pack(p)
end

-- Which of these ids are plain tasks whose lease is that of a first claim, with this epoch and this holder: what is stored says so as long as it is stored.
local function plain_claims(q, ids, epoch, holder)
  local plain, claim = {}, plain_claim(tonumber(epoch), holder)
  local states, length = redis.call('HMGET', q.state, unpack(ids)), #claim + 8
  for number = 1, #ids do
    local state = states[number]
    plain[number] = state and #state == length and find(state, claim, 1, true) == 1
  end
  return plain
end
