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

-- The tasks by the indexes of their queues, if all of them are such. No id is among them twice: the second one would be special.
local function all_new()
  local groups, at = {}, 3
  while at <= #ARGV do
    local index, special = ARGV[at], ARGV[at + 1]
    local rank = string.match(special, '^rank (%-?%d+)$')
    if special ~= '' and not rank then return nil end
    local group = groups[index]
    if not group then
      group = { q = queue(tonumber(index)), ids = {}, bodies = {}, ranks = {} }
      groups[index] = group
    end
    if rank and not by_priority(group.q) then return nil end
    local last = at + 1 + 2 * tonumber(ARGV[at + 2])
    local ids, bodies, number = group.ids, group.bodies, #group.ids
    for place = at + 3, last, 2 do
      number = number + 1
      ids[number], bodies[number] = ARGV[place], ARGV[place + 1]
      if rank then group.ranks[number] = rank end
    end
    count = count + (last - at - 1) / 2
    at = last + 2
  end
  for _, group in pairs(groups) do
    local q, ids = group.q, group.ids
    local info = about(q)
    if info.closed or info.there and unsettled(q) + #ids > info.capacity then return nil end
    -- Most queues remember no ids, which is asked once.
    local bodies, remembered = redis.call('HMGET', q.body, unpack(ids)), {}
    if redis.call('EXISTS', q.remembered) == 1 then remembered = redis.call('ZMSCORE', q.remembered, unpack(ids)) end
    for at = 1, #ids do
      if bodies[at] or remembered[at] then return nil end
    end
  end
  return groups
end

-- Adds those of one queue: as `add` does; one that comes alone may be sent ahead.
local function add_all(q, ids, bodies, ranks)
  create(q)
  -- What became of earlier tasks of these ids is over.
  if redis.call('EXISTS', q.untils) == 1 and redis.call('HDEL', q.results, unpack(ids)) > 0 then redis.call('ZREM', q.untils, unpack(ids)) end
  local stored, entries, sorted = {}, {}, by_priority(q)
  for at = 1, #ids do
    local id, body, seq, place = ids[at], bodies[at], next_sequence(q), 2 * at
    if sorted then
      body = with_sequence(body, seq)
      entries[place - 1], entries[place] = ranks[at] or 0, entry(seq, id)
    else
      entries[at] = entry(seq, id)
    end
    stored[place - 1], stored[place] = id, body
  end
  -- The first write, which a server without memory refuses: no later one is refused, as a script is not stopped in its middle.
  local before = q.unsettled or 0
  hset(q.body, before, stored)
  if count == 1 and not sorted and send_ahead(ARGV[1], q, ids[1], bodies[1], about(q).added) then return end
  if sorted then
    zadd(q.ready, before, entries)
  else
    redis.call(about(q).order == 'lifo' and 'LPUSH' or 'RPUSH', q.ready, unpack(entries))
  end
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
