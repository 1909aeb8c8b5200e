-- Arrow enqueue: (new) -> ready, due or held, in order.
-- ARGV: channel, the sequence of the call's token in twenty digits or '', then the tasks. Returns for each 0 enqueued, 1 exists, 2 full, 3 closed, or
-- the id of the task that has its key. If one does not fit its queue, changes nothing and returns -1, which one it is, from 0, and what `misplaced`
-- says. If the call is a repeated one, changes nothing and returns -2 and what was answered then.
--
-- The last key is that of the calls of the token's incarnation, if there is one. It expires when the last of them does.
--   calls  HASH  sequence -> the answers, as msgpack; and index -> the sequences and until when each is known, in ms
--
-- The index is a text: for each call its sequence in twenty digits, a colon and thirteen digits, a space between them, the lowest sequence first. Nearly every call
-- has the highest one, so it is added at the end and the first goes; only others are sorted in.
local MAX_CALLS, KEEP_CALLS = 64, 600000
local ENTRY = 35
local token, calls, index = ARGV[2], KEYS[#KEYS], ''

-- The entries of the index that are still known, without this call's own.
local function entries()
  local known = {}
  for sequence, till in string.gmatch(index, '(%d+):(%d+)') do
    if tonumber(till) > now and sequence ~= token then known[#known + 1] = sequence .. ':' .. till end
  end
  return known
end

-- The answers of an earlier call with this token.
local function answered()
  local known = redis.call('HMGET', calls, token, 'index')
  index = known[2] or ''
  local till = known[1] and string.match(index, token .. ':(%d+)')
  return till and tonumber(till) > now and known[1]
end

-- Keeps the answers of this call, those of the last ones, and no others.
local function keep_answers(answers)
  local own, over = string.format('%s:%.0f', token, now + KEEP_CALLS), {}
  local count = (#index + 1) / ENTRY
  if index == '' or count == math.floor(count) and token > string.sub(index, -ENTRY + 1, -ENTRY + 20) then
    -- Those that are over, and the one that is too many, are the first ones.
    while #index > 0 and (count >= MAX_CALLS or tonumber(string.sub(index, 22, ENTRY - 1)) <= now) do
      over[#over + 1] = string.sub(index, 1, 20)
      index, count = string.sub(index, ENTRY + 1), count - 1
    end
    index = index == '' and own or index .. ' ' .. own
  else
    local known = entries()
    known[#known + 1] = own
    table.sort(known)
    while #known > MAX_CALLS do table.remove(known, 1) end
    index = table.concat(known, ' ')
    for _, sequence in ipairs(redis.call('HKEYS', calls)) do
      if sequence ~= 'index' and not string.find(index, sequence, 1, true) then over[#over + 1] = sequence end
    end
  end
  redis.call('HSET', calls, 'index', index)
  -- Not if it is so late that all the others came after it.
  if string.find(index, token, 1, true) then redis.call('HSET', calls, token, cmsgpack.pack(answers)) end
  redis.call('PEXPIRE', calls, KEEP_CALLS)
  if #over > 0 then redis.call('HDEL', calls, unpack(over)) end
end

if token ~= '' then
  local first = answered()
  if first then return { -2, unpack(cmsgpack.unpack(first)) } end
end

local tasks, answers = {}, {}
for at = 3, #ARGV, 4 do
  local task = read_task(at)
  local order = misplaced(task)
  if order then return { -1, #tasks, unpack(order) } end
  tasks[#tasks + 1] = task
end

-- The tasks by their queues, if all of them are plain and new, and fit.
local function all_new()
  local groups = {}
  for _, task in ipairs(tasks) do
    if task.h or task.due then return nil end
    local q = task.q
    local group = groups[q] or { ids = {}, known = {} }
    if group.known[task.id] then return nil end
    group.known[task.id] = true
    group.ids[#group.ids + 1] = task.id
    groups[q] = group
  end
  for q, group in pairs(groups) do
    if about(q).closed or about(q).there and unsettled(q) + #group.ids > about(q).capacity then return nil end
    if redis.call('EXISTS', q.untils) == 1 then return nil end
    local bodies = redis.call('HMGET', q.body, unpack(group.ids))
    local remembered = redis.call('ZMSCORE', q.remembered, unpack(group.ids))
    for at in ipairs(group.ids) do
      if bodies[at] or remembered[at] then return nil end
    end
  end
  return groups
end

-- Adds such tasks, those of a queue at once: as `add` does.
local function add_all(groups)
  for q in pairs(groups) do
    create(q)
    local bodies, states, entries = {}, {}, {}
    for _, task in ipairs(tasks) do
      if task.q == q then
        local seq = next_sequence(q)
        bodies[#bodies + 1] = task.id
        bodies[#bodies + 1] = task.body
        if by_priority(q) then
          states[#states + 1] = task.id
          states[#states + 1] = '\1' .. cmsgpack.pack({ seq = seq })
          entries[#entries + 1] = 0
        end
        entries[#entries + 1] = entry(seq, task.id)
      end
    end
    redis.call('HSET', q.body, unpack(bodies))
    if #states > 0 then redis.call('HSET', q.state, unpack(states)) end
    redis.call(by_priority(q) and 'ZADD' or about(q).order == 'lifo' and 'LPUSH' or 'RPUSH', q.ready, unpack(entries))
  end
  news = true
end

local groups = all_new()
if groups then add_all(groups) end
for _, task in ipairs(tasks) do
  local q, answer = task.q, 0
  if not groups then
    if exists(q, task.id) then
      answer = 1
    elseif about(q).closed then
      answer = 3
    else
      answer = other_holder(task) or is_full(q) and 2 or 0
      if answer == 0 then add_task(task) end
    end
  end
  answers[#answers + 1] = answer
end
if token ~= '' then keep_answers(answers) end
finish(ARGV[1])
return answers
