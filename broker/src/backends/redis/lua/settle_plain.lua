-- The short way of arrow complete: of plain tasks that hand on nothing.
-- ARGV: channel, then for each settlement: queue, id, epoch, holder, how, error or result, delay in ms, number of children, and the children.
-- Returns for each 1 settled, 0 lost. If a child does not fit its queue, changes nothing and returns -1, which of all children it is, from 0, and
-- what `misplaced` says. Besides the arrows there is `put off`: as park, after the delay and for the reason that are given, however often.

-- Where the settlements stand in ARGV, and what those are answered that are done.
local places, answers, answered, children = {}, {}, 0, 0
-- How often a lease is settled: of several settlements of one the first counts, so they are not taken out of their order.
local times = {}

local function task_of(place) return ARGV[place] .. ' ' .. ARGV[place + 1] end

local at = 2
while at <= #ARGV do
  places[#places + 1] = at
  times[task_of(at)] = (times[task_of(at)] or 0) + 1
  local own = tonumber(ARGV[at + 7])
  children = children + own
  at = at + 8 + own * 4
end

-- Completes the plain ones of these settlements of a queue, and answers them.
local function complete_plain(q, numbers)
  local ids, gone = {}, {}
  for at, number in ipairs(numbers) do ids[at] = ARGV[places[number] + 1] end
  local plain = plain_claims(q, ids, function(at)
    local place = places[numbers[at]]
    return ARGV[place + 2], ARGV[place + 3]
  end)
  for at, number in ipairs(numbers) do
    if plain[at] then
      gone[#gone + 1] = ids[at]
      answers[number] = 1
    end
  end
  if #gone == 0 then return end
  answered = answered + #gone
  redis.call('ZREM', q.lease, unpack(gone))
  redis.call('HDEL', q.body, unpack(gone))
  redis.call('HDEL', q.state, unpack(gone))
  news = true
end

-- Completes all that are plain and hand on nothing, those of a queue at once.
local function complete_all_plain()
  local bare = {}
  for number, place in ipairs(places) do
    if ARGV[place + 4] == 'complete' and ARGV[place + 7] == '0' and times[task_of(place)] == 1 then
      local index = ARGV[place]
      bare[index] = bare[index] or {}
      table.insert(bare[index], number)
    end
  end
  for index, numbers in pairs(bare) do complete_plain(queue(tonumber(index)), numbers) end
end

-- Where there are children, these are looked at first.
if children == 0 then
  complete_all_plain()
  if answered == #places then
    end_step(ARGV[1])
    return answers
  end
end
