-- What is stored of one task.

local MAX_ERROR, MAX_HISTORY, MAX_HISTORY_ERROR = 4096, 10, 256

-- The sequence in a body of a queue by priority.
local function sequence_in(body) return body and string.byte(body) == 3 and struct.unpack('>I8', body, 2) or 0 end

-- What is stored of a task that may have nothing but a sequence.
local function stored(q, id)
  local state = redis.call('HGET', q.state, id)
  if state then return parse_state(state) end
  return { seq = by_priority(q) and sequence_in(redis.call('HGET', q.body, id)) or 0 }
end

-- What happened to a task since it was enqueued: machine::Progress, and the sequence and holder of its last claim. Where they are not nothing:
-- history, by turns ms and text; reported, what the holder told of its progress; returned, whether it has a key and was given back under its
-- sequence; died, in ms, once it is dead.
local function progress(q, id)
  local p = stored(q, id)
  if p.epoch then return p end
  return no_progress(p.seq)
end

local function save(q, id, p)
  redis.call('HSET', q.state, id, '\1' .. cmsgpack.pack(p))
end

-- The same, and of what cannot be read the usual: whoever claims that sends it away, and no script fails because of it.
local function header(body)
  return read_header(body) or { name = '', given = false, max_attempts = MAX_ATTEMPTS, max_crashes = MAX_CRASHES }
end

local function cut(text, most)
  if #text <= most then return text end
  local last = most
  -- Not in the middle of a character: continuation bytes are 128 to 191.
  while last > 0 and string.byte(text, last + 1) >= 128 and string.byte(text, last + 1) < 192 do last = last - 1 end
  return string.sub(text, 1, last)
end

-- Takes down in the history what went wrong.
local function note_failure(p, text)
  local history = p.history or {}
  while #history >= 2 * MAX_HISTORY do
    table.remove(history, 1)
    table.remove(history, 1)
  end
  history[#history + 1] = now
  history[#history + 1] = cut(text, MAX_HISTORY_ERROR)
  p.history = history
end

-- Takes down what went wrong last.
local function fail(p, text)
  p.error = cut(text, MAX_ERROR)
  note_failure(p, text)
end

local function remove(q, id)
  redis.call('HDEL', q.body, id)
  redis.call('HDEL', q.state, id)
end
