-- Arrows complete, retry, bury, release and park. As machine::Progress::settle.
-- ARGV: channel, then for each settlement: queue, id, epoch, holder, how, error or result, delay in ms, number of children, and the children.
-- Returns for each 1 settled, 0 lost. If a child does not fit its queue, changes nothing and returns -1, which of all children it is, from 0, and
-- what `misplaced` says. Besides the arrows there is `put off`: as park, after the delay and for the reason that are given, however often.
local answers, settlements, children = {}, {}, 0
-- How often a lease is settled: of several settlements of one the first counts, so they are not taken out of their order.
local times = {}

local at = 2
while at <= #ARGV do
  local settlement = { at = at, children = {} }
  for child = at + 8, at + 7 + tonumber(ARGV[at + 7]) * 4, 4 do
    local task = read_task(child)
    local order = misplaced(task)
    if order then return { -1, children, unpack(order) } end
    children = children + 1
    settlement.children[#settlement.children + 1] = task
  end
  settlements[#settlements + 1] = settlement
  settlement.task = ARGV[at] .. ' ' .. ARGV[at + 1]
  times[settlement.task] = (times[settlement.task] or 0) + 1
  at = at + 8 + #settlement.children * 4
end

-- What would come back does not, if somebody cancelled it.
local function unless_cancelled(q, id, p, h, go_on, ...)
  if p.cancelled then return go(q, id, p, h, 'C') end
  return go_on(q, id, p, h, ...)
end

local function park(q, id, p, h)
  if p.parks == 0 then p.since = now end
  p.error = 'no handler'
  if now - p.since >= MAX_PARKED then
    note_failure(p, p.error)
    return go_dead(q, id, p, h)
  end
  local delay = math.min(2 ^ math.min(p.parks, 6), 60) * 1000
  p.parks = p.parks + 1
  unless_cancelled(q, id, p, h, go_scheduled, now + delay)
end

local function settle(q, id, p, h, how, text, delay)
  p.alone = false
  if how == 'release' then return unless_cancelled(q, id, p, h, go_ready) end
  p.deaths = 0
  if how == 'park' then return park(q, id, p, h) end
  if how == 'put off' then
    p.error = cut(text, MAX_ERROR)
    return unless_cancelled(q, id, p, h, go_scheduled, now + delay)
  end
  p.parks, p.since = 0, 0
  if how == 'complete' then return go(q, id, p, h, 'D' .. text) end
  fail(p, text)
  if how == 'bury' then return go_dead(q, id, p, h) end
  p.attempts = p.attempts + 1
  if p.attempts >= h.max_attempts then return go_dead(q, id, p, h) end
  unless_cancelled(q, id, p, h, go_scheduled, now + delay)
end

-- The settlements that complete a task and hand on nothing, by the indexes of their queues.
local function bare_completions()
  local bare = {}
  for number, settlement in ipairs(settlements) do
    if ARGV[settlement.at + 4] == 'complete' and #settlement.children == 0 and times[settlement.task] == 1 then
      local index = ARGV[settlement.at]
      bare[index] = bare[index] or {}
      table.insert(bare[index], number)
    end
  end
  return bare
end

-- Completes those of a queue that are plain, and answers them.
local function complete_plain(q, numbers)
  local ids, gone = {}, {}
  for at, number in ipairs(numbers) do ids[at] = ARGV[settlements[number].at + 1] end
  local plain = plain_claims(q, ids, function(at)
    local place = settlements[numbers[at]].at
    return ARGV[place + 2], ARGV[place + 3]
  end)
  for at, number in ipairs(numbers) do
    if plain[at] then
      gone[#gone + 1] = ids[at]
      answers[number] = 1
    end
  end
  if #gone == 0 then return end
  redis.call('ZREM', q.lease, unpack(gone))
  redis.call('HDEL', q.body, unpack(gone))
  redis.call('HDEL', q.state, unpack(gone))
  news = true
end

for index, numbers in pairs(bare_completions()) do complete_plain(queue(tonumber(index)), numbers) end

for number, settlement in ipairs(settlements) do
  if not answers[number] then
    at = settlement.at
    local q, id = queue(tonumber(ARGV[at])), ARGV[at + 1]
    local p = held(q, id, tonumber(ARGV[at + 2]), ARGV[at + 3])
    -- Without its body a task cannot be settled; when its lease runs out, the next claim drops it.
    local body = p and redis.call('HGET', q.body, id)
    if body then
      settle(q, id, p, header(body), ARGV[at + 4], ARGV[at + 5], tonumber(ARGV[at + 6]))
      for _, child in ipairs(settlement.children) do
        if not exists(child.q, child.id) and not other_holder(child) then add_task(child) end
      end
      count_settled()
    end
    answers[number] = body and 1 or 0
  end
end
finish(ARGV[1])
return answers
