-- Arrows complete, retry, crash, bury, release and park, where the short way does not go: see `settle_plain.lua`. As machine::Progress::settle.
local MAX_PARKED = 3600000

-- The children, by the runs; and whether one has the id of a task that is settled here too, so that it matters which comes first.
local handed_on, crossing = {}, false
do
  local seen = 0
  for number, run in ipairs(runs) do
    handed_on[number] = {}
    for at = run.first_child, run.first_child + 4 * run.children - 1, 4 do
      local task = new_task(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
      local order = misplaced(task)
      if order then return { -1, seen, unpack(order) } end
      seen = seen + 1
      crossing = crossing or (task.q.times or {})[task.id] ~= nil
      table.insert(handed_on[number], task)
    end
  end
end
if children > 0 and not crossing then
  complete_all_plain()
  complete_all_alone()
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

-- The process that ran it and no other died of it.
local function crash(q, id, p, h, text, delay)
  p.crashes = p.crashes + 1
  p.deaths = math.max(p.deaths + 1, 2)
  fail(p, text)
  if p.crashes < h.max_crashes then return unless_cancelled(q, id, p, h, go_scheduled, now + delay) end
  p.error = cut('crash ' .. p.crashes .. ' of ' .. h.max_crashes .. ': ' .. text, MAX_ERROR)
  go_dead(q, id, p, h)
end

local function settle(q, id, p, h, how, text, delay)
  p.alone = false
  if how == 'release' then return unless_cancelled(q, id, p, h, go_ready) end
  if how ~= 'crash' then p.deaths = 0 end
  if how == 'park' then return park(q, id, p, h) end
  if how == 'put off' then
    p.error = cut(text, MAX_ERROR)
    return unless_cancelled(q, id, p, h, go_scheduled, now + delay)
  end
  p.parks, p.since = 0, 0
  if how == 'complete' then return go(q, id, p, h, 'D' .. text) end
  if how == 'crash' then return crash(q, id, p, h, text, delay) end
  fail(p, text)
  if how == 'bury' then return go_dead(q, id, p, h) end
  p.attempts = p.attempts + 1
  if p.attempts >= h.max_attempts then return go_dead(q, id, p, h) end
  unless_cancelled(q, id, p, h, go_scheduled, now + delay)
end

local function settle_one(run, id, own)
  local q = run.q
  local p = held(q, id, tonumber(run.epoch), run.holder)
  -- Without its body a task cannot be settled; when its lease runs out, the next claim drops it.
  local body = p and redis.call('HGET', q.body, id)
  if not body then return 0 end
  settle(q, id, p, header(body), run.how, run.text, run.delay)
  for _, child in ipairs(own) do
    if not exists(child.q, child.id) and not other_holder(child) then add_task(child) end
  end
  count_settled()
  return 1
end

for number, run in ipairs(runs) do
  for at, id in ipairs(run.ids) do
    answers[run.before + at] = answers[run.before + at] or settle_one(run, id, handed_on[number])
  end
end
finish(ARGV[1])
return answers
