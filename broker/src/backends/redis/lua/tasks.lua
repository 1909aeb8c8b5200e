-- Tasks as they come in ARGV: queue, id, body, and what is special about them: '' for nothing, 'rank' and a number where that is no more than their priority, else when
-- they start: 'now', 'after' or 'at' and ms.

local function new_task(index, id, body, special)
  local task = { q = queue(tonumber(index)), id = id, body = body }
  if special == '' then return task end
  task.h = header(task.body)
  local how, ms = string.match(special, '^(%a+) ?(%d*)$')
  if how == 'after' then task.due = now + tonumber(ms) elseif how == 'at' then task.due = tonumber(ms) end
  if task.due and task.due <= now then task.due = nil end
  return task
end

-- If the task has a priority or a key that would mean nothing in its queue: the order of that, by its number, its key_limit (0 for none) and its
-- key_interval.
local function misplaced(task)
  local h = task.h
  if not h or not (h.priority and not by_priority(task.q) or h.key and not about(task.q).limits) then return nil end
  local info, orders = about(task.q), { fifo = 0, lifo = 1, priority = 2 }
  return { orders[info.order], info.key_limit or 0, info.key_interval }
end

local function other_holder(task)
  return task.h and holder_of(task.q, task.h.unique)
end

local function add_task(task)
  add(task.q, task.id, task.body, task.h, task.due)
end
