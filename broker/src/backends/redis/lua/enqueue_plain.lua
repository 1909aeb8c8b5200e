-- The short way of arrow enqueue: (new) -> ready, of tasks of which nothing is special but their priority, and which are new and fit.
-- ARGV: channel, the sequence of the call's token in twenty digits or '', then the tasks by runs of those that have these in common: queue, what is special about them,
-- how many, and for each id and body. Returns for each 0 enqueued, 1 exists, 2 full, 3 closed, or
-- the id of the task that has its key. If one does not fit its queue, changes nothing and returns -1, which one it is, from 0, and what `misplaced`
-- says. If the call is a repeated one, changes nothing and returns -2 and what was answered then.
local token, calls = ARGV[2], KEYS[#KEYS]
if token ~= '' then
  local first = answered(calls, token)
  if first then return { -2, unpack(first) } end
end

local count = 0

-- The tasks by the indexes of their queues, if all of them are such.
local function all_new()
  local groups, at = {}, 3
  while at <= #ARGV do
    local index, special = ARGV[at], ARGV[at + 1]
    local rank = string.match(special, '^rank (%-?%d+)$')
    if special ~= '' and not rank then return nil end
    local group = groups[index]
    if not group then
      group = { q = queue(tonumber(index)), ids = {}, bodies = {}, ranks = {}, known = {} }
      groups[index] = group
    end
    if rank and not by_priority(group.q) then return nil end
    local last = at + 1 + 2 * tonumber(ARGV[at + 2])
    for place = at + 3, last, 2 do
      local id, number = ARGV[place], #group.ids + 1
      if group.known[id] then return nil end
      group.known[id] = true
      group.ids[number], group.bodies[number], group.ranks[number] = id, ARGV[place + 1], rank or 0
      count = count + 1
    end
    at = last + 2
  end
  for _, group in pairs(groups) do
    local q, ids = group.q, group.ids
    local info = about(q)
    if info.closed or info.there and unsettled(q) + #ids > info.capacity then return nil end
    local bodies, remembered = redis.call('HMGET', q.body, unpack(ids)), redis.call('ZMSCORE', q.remembered, unpack(ids))
    for at = 1, #ids do
      if bodies[at] or remembered[at] then return nil end
    end
  end
  return groups
end

-- Adds those of one queue: as `add` does.
local function add_all(q, ids, bodies, ranks)
  create(q)
  -- What became of earlier tasks of these ids is over.
  if redis.call('EXISTS', q.untils) == 1 and redis.call('HDEL', q.results, unpack(ids)) > 0 then redis.call('ZREM', q.untils, unpack(ids)) end
  local stored, entries, sorted = {}, {}, by_priority(q)
  for at, id in ipairs(ids) do
    local seq = next_sequence(q)
    stored[2 * at - 1], stored[2 * at] = id, sorted and with_sequence(bodies[at], seq) or bodies[at]
    if sorted then
      entries[2 * at - 1], entries[2 * at] = ranks[at], entry(seq, id)
    else
      entries[at] = entry(seq, id)
    end
  end
  redis.call('HSET', q.body, unpack(stored))
  redis.call(sorted and 'ZADD' or about(q).order == 'lifo' and 'LPUSH' or 'RPUSH', q.ready, unpack(entries))
  q.got_ready = true
end

local groups = all_new()
if groups then
  local answers = {}
  for _, group in pairs(groups) do add_all(group.q, group.ids, group.bodies, group.ranks) end
  for number = 1, count do answers[number] = 0 end
  if token ~= '' then keep_answers(calls, token, answers) end
  end_step(ARGV[1])
  return answers
end
