-- What is forgotten of tasks after their end, in time.

local MAX_REMEMBERED, MAX_RESULTS = 1000000, 100000
-- How often a queue looks for what need not be known any more, in ms, when nothing is added to it.
local FORGET = 60000

-- Forgets what is over in a set, and what is too much in it. Tells whether any is left, and whether there may be more to forget at once.
local function forget_in(q, set, hash, most)
  local past = redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, UPKEEP)
  local left = redis.call('ZCARD', set)
  if #past == 0 and left > most then
    past = redis.call('ZRANGE', set, 0, math.min(left - most, UPKEEP) - 1)
  end
  if #past > 0 then
    redis.call('ZREM', set, unpack(past))
    if hash then redis.call('HDEL', hash, unpack(past)) end
  end
  return left > #past, #past == UPKEEP
end

local function forget_ids(q) return forget_in(q, q.remembered, nil, MAX_REMEMBERED) end
local function forget_results(q) return forget_in(q, q.untils, q.results, MAX_RESULTS) end

-- Notes that something was kept: `forget_kept` forgets what is over by then, once a script.
local function kept(q, forget)
  q.kept = q.kept or {}
  q.kept[forget] = true
end

-- At the end of a script.
local function forget_kept()
  for _, q in pairs(queues) do
    for forget in pairs(q.kept or {}) do forget(q) end
    if q.kept and not about(q).forget then redis.call('HSET', q.info, 'forget', now + FORGET) end
  end
end
