-- Arrow enqueue: (new) -> ready, in order.
-- ARGV: channel, then for each task: queue, id, body. Returns for each 0 enqueued, 1 exists, 2 full, 3 closed.
local answers = {}
for at = 2, #ARGV, 3 do
  local q, id = queue(tonumber(ARGV[at])), ARGV[at + 1]
  local answer = 0
  if exists(q, id) then
    answer = 1
  else
    create(q)
    if is_closed(q) then
      answer = 3
    elseif is_full(q) then
      answer = 2
    else
      add(q, id, ARGV[at + 2])
    end
  end
  answers[#answers + 1] = answer
end
finish(ARGV[1])
return answers
