-- Arrows complete, retry, bury, release and park. As machine::Progress::settle.
-- ARGV: channel, then for each settlement: queue, id, epoch, holder, how, error, delay in ms, number of children, and for
-- each child: queue, id, body. Returns for each 1 settled, 0 lost.
local answers = {}

local function park(q, id, p)
  if p.parks == 0 then p.since = now end
  p.error = 'no handler'
  if now - p.since >= MAX_PARKED then return go_dead(q, id, p) end
  local delay = math.min(2 ^ math.min(p.parks, 6), 60) * 1000
  p.parks = p.parks + 1
  go_scheduled(q, id, p, now + delay)
end

local function settle(q, id, p, how, error, delay)
  local h = header(redis.call('HGET', q.body, id))
  p.alone = false
  if how == 'release' then return go_ready(q, id, p) end
  p.deaths = 0
  if how == 'park' then return park(q, id, p) end
  p.parks, p.since = 0, 0
  if how == 'complete' then
    redis.call('ZREM', q.lease, id)
    remove(q, id)
    if h.given then remember(q, id) end
    news = true
  elseif how == 'bury' then
    p.error = cut(error)
    go_dead(q, id, p)
  else
    p.attempts = p.attempts + 1
    p.error = cut(error)
    if p.attempts >= h.max_attempts then go_dead(q, id, p) else go_scheduled(q, id, p, now + delay) end
  end
end

local at = 2
while at <= #ARGV do
  local q, id, how = queue(tonumber(ARGV[at])), ARGV[at + 1], ARGV[at + 4]
  local children = tonumber(ARGV[at + 7])
  local p = held(q, id, tonumber(ARGV[at + 2]), ARGV[at + 3])
  if p then
    settle(q, id, p, how, ARGV[at + 5], tonumber(ARGV[at + 6]))
    for child = at + 8, at + 7 + children * 3, 3 do
      local to = queue(tonumber(ARGV[child]))
      if not exists(to, ARGV[child + 1]) then add(to, ARGV[child + 1], ARGV[child + 2]) end
    end
  end
  answers[#answers + 1] = p and 1 or 0
  at = at + 8 + children * 3
end
finish(ARGV[1])
return answers
