-- Arrow enqueue: (new) -> ready or due, in order.
-- ARGV: channel, then the tasks. Returns for each 0 enqueued, 1 exists, 2 full, 3 closed, or the id of the task that has its key. If one has a
-- priority that its queue has no use for, changes nothing and returns -1, which one it is, from 0, and the order of its queue.
local tasks, answers = {}, {}
for at = 2, #ARGV, 4 do
  local task = read_task(at)
  local order = misplaced(task)
  if order then return { -1, #tasks, order } end
  tasks[#tasks + 1] = task
end

for _, task in ipairs(tasks) do
  local q, answer = task.q, 0
  if exists(q, task.id) then
    answer = 1
  elseif about(q).closed then
    answer = 3
  else
    answer = other_holder(task) or is_full(q) and 2 or 0
    if answer == 0 then add_task(task) end
  end
  answers[#answers + 1] = answer
end
finish(ARGV[1])
return answers
