-- The short way of arrow complete: of plain tasks that hand on nothing.
-- ARGV: channel, who is to have credit (as `credit.lua` has it, and the index of the queue) or '', then the settlements by runs of those that have these in common: queue,
-- epoch, holder, how, error or result, delay in ms, number of children, how many, and their ids; then the children, of a run of one. Returns for each 1 settled, 0 lost. If a child does not fit its queue, changes nothing and returns -1, which of all
-- children it is, from 0, and what `misplaced` says. Besides the arrows there is `put off`: as park, after the delay and for the reason that are given, however often.

-- The runs, how many children they have, and what is answered: by the numbers of the settlements.
local runs, total, children, answers, answered = {}, 0, 0, {}, 0

if ARGV[2] ~= '' then give_credit(queue(tonumber(string.sub(ARGV[2], 21))), string.sub(ARGV[2], 1, 20)) end

do
  local at = 3
  while at <= #ARGV do
    local run = { q = queue(tonumber(ARGV[at])), epoch = ARGV[at + 1], holder = ARGV[at + 2], how = ARGV[at + 3], text = ARGV[at + 4],
      delay = tonumber(ARGV[at + 5]), children = tonumber(ARGV[at + 6]), before = total, ids = {} }
    -- How often a task is settled: of several settlements of one lease the first counts, so they are not taken out of their order.
    local times = run.q.times or {}
    run.q.times = times
    local ids, count = run.ids, tonumber(ARGV[at + 7])
    for number = 1, count do
      local id = ARGV[at + 7 + number]
      ids[number] = id
      times[id] = (times[id] or 0) + 1
    end
    total = total + count
    children = children + run.children
    at = at + 8 + count
    run.first_child = at
    at = at + 4 * run.children
    runs[#runs + 1] = run
  end
end

-- Completes the plain ones of a run, and answers them.
local function complete_plain(run)
  local q, ids, gone, count = run.q, run.ids, {}, 0
  local plain, times, before = plain_claims(q, ids, run.epoch, run.holder), run.q.times, run.before
  for at = 1, #ids do
    local id = ids[at]
    if plain[at] and times[id] == 1 then
      count = count + 1
      gone[count] = id
      answers[before + at] = 1
    end
  end
  if count == 0 then return end
  answered = answered + count
  redis.call('ZREM', q.lease, unpack(gone))
  redis.call('HDEL', q.body, unpack(gone))
  redis.call('HDEL', q.state, unpack(gone))
  q.got_settled = true
end

-- Completes all that are plain and hand on nothing. One with a result has somebody who wants it, and so is not plain.
local function complete_all_plain()
  for _, run in ipairs(runs) do
    if run.how == 'complete' and run.children == 0 and run.text == 'null' then complete_plain(run) end
  end
end

-- Where there are children, these are looked at first.
if children == 0 then
  complete_all_plain()
  if answered == total then
    end_step(ARGV[1])
    return answers
  end
end
