-- What `fsck_tasks.lua` reads of a task, and what it takes for one.

local NUMBERS = { 'epoch', 'attempts', 'crashes', 'deaths', 'parks', 'since', 'seq' }

local function is_count(value) return type(value) == 'number' and value >= 0 and value <= 2 ^ 53 end

-- Whether it is by turns a time and a text.
local function is_history(history)
  if type(history) ~= 'table' or #history % 2 ~= 0 then return false end
  for at = 1, #history, 2 do
    if not is_count(history[at]) or type(history[at + 1]) ~= 'string' then return false end
  end
  return true
end

-- The progress, whether it is as we write it, and whether it is of a task that has nothing but a sequence. Nothing when there is none.
local function read_state(id)
  local state = redis.call('HGET', q.state, id)
  if not state then
    local seq = by_priority(q) and sequence_in(redis.call('HGET', q.body, id)) or 0
    if seq == 0 then return nil, true end
    return no_progress(seq), true, true
  end
  local format = string.byte(state)
  if format ~= 1 and (format ~= 2 or #state ~= 33) then return nil, false end
  local fine, p = pcall(parse_state, state)
  if not fine or type(p) ~= 'table' then return nil, false end
  if p.epoch == nil and is_count(p.seq) then return no_progress(p.seq), true, true end
  for _, name in ipairs(NUMBERS) do
    if not is_count(p[name]) then return nil, false end
  end
  if type(p.holder) ~= 'string' or type(p.error) ~= 'string' or type(p.alone) ~= 'boolean' then return nil, false end
  if p.history ~= nil and not is_history(p.history) then return nil, false end
  if p.died ~= nil and not is_count(p.died) then p.died = nil end
  return p, true
end

-- A letter, and what it says: 16 bytes, or text.
local function is_id(id)
  local kind = string.sub(id, 1, 1)
  return kind == 'u' and #id == 17 or kind == 't' and string.find(id, '^t[A-Za-z0-9._:/-]+$') ~= nil and #id <= 129
end

-- Whether a version made it that knows more than this one, and will read it.
local function is_newer(body)
  local format = string.byte(body) or 0
  return format > 3 and format < 32
end

local function numbers(text)
  local all = {}
  for number in string.gmatch(text, '%d+') do all[#all + 1] = tonumber(number) end
  return all
end

-- Each of these once.
local function once(...)
  local all, had = {}, {}
  for _, some in ipairs({ ... }) do
    for _, one in ipairs(some) do
      if not had[one] then all[#all + 1] = one end
      had[one] = true
    end
  end
  return all
end

-- An epoch may have been lost: those that come are higher than all that were given.
local function raise_generation()
  local generation = tonumber(redis.call('HGET', KEYS[1], 'epochs_from')) or 0
  redis.call('HSET', KEYS[1], 'epochs_from', string.format('%.0f', math.max(generation + 1, math.floor(now / 1000))))
end
