-- What is stored of one task.

local MAX_ATTEMPTS, MAX_CRASHES, MAX_ERROR, MAX_HISTORY, MAX_HISTORY_ERROR = 5, 3, 4096, 10, 256

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

local function is_or_nil(value, wanted) return value == nil or type(value) == wanted end

-- The options in a body, where its payload begins, and the name, where that is not among the options. Nothing if there are none.
local function split(body)
  local format = string.byte(body)
  local from = (format == 1 or format == 2) and 2 or format == 3 and 10
  local line = from and string.find(body, '\n', from, true)
  if not line then return nil end
  if format == 1 then return string.sub(body, 2, line - 1), line + 1 end
  local last = string.find(body, '\n', line + 1, true)
  if not last then return nil end
  return string.sub(body, line + 1, last - 1), last + 1, string.sub(body, from, line - 1)
end

-- What a body says of a task: name, given, max_attempts, max_crashes; and if they are not the usual ones, priority, expires (ms),
-- unique, hold (ms, or -1 for the life of its batch), key, batch, result (for how many ms it is kept). Nothing if it cannot be read.
local function read_header(body)
  local options, _, name = split(body)
  if not options then return nil end
  local fine, h = true, {}
  if options ~= '' then fine, h = pcall(cjson.decode, options) end
  if not fine or type(h) ~= 'table' then return nil end
  h.name, h.given = name or h.name, h.given or false
  h.max_attempts, h.max_crashes = h.max_attempts or MAX_ATTEMPTS, h.max_crashes or MAX_CRASHES
  if type(h.name) == 'string' and type(h.given) == 'boolean' and type(h.max_attempts) == 'number'
    and type(h.max_crashes) == 'number' and is_or_nil(h.priority, 'number') and is_or_nil(h.expires, 'number')
    and is_or_nil(h.unique, 'string') and is_or_nil(h.hold, 'number') and is_or_nil(h.key, 'string') and is_or_nil(h.batch, 'string')
    and is_or_nil(h.result, 'number')
  then
    return h
  end
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
