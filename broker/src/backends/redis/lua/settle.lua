-- Arrows complete, retry, bury, release and park. As machine::Progress::settle.
-- ARGV: channel, then for each settlement: queue, id, epoch, holder, how, error or result, delay in ms, number of children, and the children.
-- Returns for each 1 settled, 0 lost. If a child does not fit its queue, changes nothing and returns -1, which of all children it is, from 0, and
-- what `misplaced` says. Besides the arrows there is `put off`: as park, after the delay and for the reason that are given, however often.
local answers, settlements, children = {}, {}, 0

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

for _, settlement in ipairs(settlements) do
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
  answers[#answers + 1] = body and 1 or 0
end
finish(ARGV[1])
return answers
