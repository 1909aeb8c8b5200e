-- The short way of arrow enqueue: (new) -> ready, of tasks of which nothing is special, and which are new and fit.
-- ARGV: channel, the sequence of the call's token in twenty digits or '', then the tasks. Returns for each 0 enqueued, 1 exists, 2 full, 3 closed, or
-- the id of the task that has its key. If one does not fit its queue, changes nothing and returns -1, which one it is, from 0, and what `misplaced`
-- says. If the call is a repeated one, changes nothing and returns -2 and what was answered then.
local token, calls = ARGV[2], KEYS[#KEYS]
if token ~= '' then
  local first = answered(calls, token)
  if first then return { -2, unpack(first) } end
end

-- The tasks by the indexes of their queues, if all of them are such.
local function all_new()
  local groups = {}
  for at = 3, #ARGV, 4 do
    local index, id = ARGV[at], ARGV[at + 1]
    local group = groups[index]
    if not group then
      group = { q = queue(tonumber(index)), ids = {}, bodies = {}, known = {} }
      groups[index] = group
    end
    if ARGV[at + 3] ~= '' or group.known[id] then return nil end
    group.known[id] = true
    group.ids[#group.ids + 1] = id
    group.bodies[#group.bodies + 1] = ARGV[at + 2]
  end
  for _, group in pairs(groups) do
    local q, ids = group.q, group.ids
    local info = about(q)
    if info.closed or info.there and unsettled(q) + #ids > info.capacity then return nil end
    local bodies, remembered = redis.call('HMGET', q.body, unpack(ids)), redis.call('ZMSCORE', q.remembered, unpack(ids))
    for at in ipairs(ids) do
      if bodies[at] or remembered[at] then return nil end
    end
  end
  return groups
end

-- Adds those of one queue: as `add` does.
local function add_all(q, ids, bodies)
  create(q)
  -- What became of earlier tasks of these ids is over.
  if redis.call('EXISTS', q.untils) == 1 and redis.call('HDEL', q.results, unpack(ids)) > 0 then redis.call('ZREM', q.untils, unpack(ids)) end
  local stored, states, entries, sorted = {}, {}, {}, by_priority(q)
  for at, id in ipairs(ids) do
    local seq = next_sequence(q)
    stored[2 * at - 1], stored[2 * at] = id, bodies[at]
    if sorted then
      states[2 * at - 1], states[2 * at] = id, '\1' .. cmsgpack.pack({ seq = seq })
      entries[2 * at - 1], entries[2 * at] = 0, entry(seq, id)
    else
      entries[at] = entry(seq, id)
    end
  end
  redis.call('HSET', q.body, unpack(stored))
  if sorted then redis.call('HSET', q.state, unpack(states)) end
  redis.call(sorted and 'ZADD' or about(q).order == 'lifo' and 'LPUSH' or 'RPUSH', q.ready, unpack(entries))
  news = true
end

local groups = all_new()
if groups then
  local answers = {}
  for _, group in pairs(groups) do add_all(group.q, group.ids, group.bodies) end
  for number = 1, (#ARGV - 2) / 4 do answers[number] = 0 end
  if token ~= '' then keep_answers(calls, token, answers) end
  end_step(ARGV[1])
  return answers
end
