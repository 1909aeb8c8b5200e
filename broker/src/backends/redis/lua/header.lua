-- What a body says of its task.

local MAX_ATTEMPTS, MAX_CRASHES = 5, 3

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
-- unique, hold (ms, or -1 for the life of its batch), key, batch, result (for how many ms it is kept), reply (the session that is told what becomes of it). Nothing if
-- it cannot be read.
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
    and is_or_nil(h.result, 'number') and is_or_nil(h.reply, 'string')
  then
    return h
  end
end

-- What is longer is not told: who waits for it asks.
local MAX_TOLD = 4096

-- Notes what became of a task for the session that waits for it, if one does: `end_step` tells it. A letter and a text, as `outcomes.lua` has them.
local function tell(q, h, id, letter, text)
  if not h.reply then return end
  local what = #text <= MAX_TOLD and letter .. text or ''
  q.told = q.told or {}
  local told = q.told[h.reply] or {}
  q.told[h.reply] = told
  told[#told + 1] = struct.pack('>I2I4', #id, #what) .. id .. what
end
