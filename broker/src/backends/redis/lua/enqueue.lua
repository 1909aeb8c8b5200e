-- Arrow enqueue: (new) -> ready, due or held, in order, where the short way does not go: see `enqueue_plain.lua`.
local tasks, answers, at = {}, {}, 3
while at <= #ARGV do
  local last = at + 1 + 2 * tonumber(ARGV[at + 2])
  for place = at + 3, last, 2 do
    local task = new_task(ARGV[at], ARGV[place], ARGV[place + 1], ARGV[at + 1])
    local order = misplaced(task)
    if order then return { -1, #tasks, unpack(order) } end
    tasks[#tasks + 1] = task
  end
  at = last + 2
end

for number, task in ipairs(tasks) do
  local q, answer = task.q, 0
  if exists(q, task.id) then
    answer = 1
  elseif about(q).closed then
    answer = 3
  else
    answer = other_holder(task) or is_full(q) and 2 or 0
    if answer == 0 then add_task(task) end
  end
  answers[number] = answer
end
if token ~= '' then keep_answers(calls, token, answers) end
finish(ARGV[1])
return answers
