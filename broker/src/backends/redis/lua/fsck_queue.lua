-- Looks at the keys of one queue, and at its options and counters.
-- ARGV: channel, repair (1 or 0). Returns how many tasks it has, -1 for a queue that does not exist; how many of them are in ready; whether its
-- tasks can be looked at (1 or 0); whether there is more to repair (1 or 0); the last sequence given; whether ready is a list (1 or 0); and what
-- is wrong: for each what, and how it is repaired, or nothing.
local q, repair = queue(0), ARGV[2] == '1'
local wrong = {}

local function note(what, how)
  wrong[#wrong + 1] = what
  wrong[#wrong + 1] = how
end

-- What each key is. What ready is, the order of the queue says.
local KINDS = {
  { 'info', 'hash' }, { 'body', 'hash' }, { 'state', 'hash' }, { 'gone', 'hash' }, { 'returned', 'zset' }, { 'alone', 'zset' },
  { 'due', 'zset' }, { 'lease', 'zset' }, { 'dead', 'zset' }, { 'expiring', 'zset' }, { 'unique', 'hash' }, { 'seen', 'zset' },
  { 'remembered', 'zset' }, { 'results', 'hash' }, { 'untils', 'zset', 'until' }, { 'held', 'zset' }, { 'permits', 'zset' }, { 'opening', 'zset' },
}

-- The fields of info: the least, the most, the default. What is missing of paused is 0.
local FIELDS = {
  { 'capacity', 1, 2 ^ 53, CAPACITY }, { 'remember_ids', 0, 2 ^ 53, REMEMBER_IDS }, { 'revision', 1, 2 ^ 53, 1 },
  { 'configured', 0, 1, 0 }, { 'closed', 0, 1, 0 }, { 'added', 0, 2 ^ 53, now }, { 'deaths', 0, 2 ^ 53, 0 },
}

-- Those that may be missing.
local LIMITS = { { 'key_limit', 1, 2 ^ 31 - 1 }, { 'key_interval', 1, 86400000 }, { 'paused_at', 0, 2 ^ 53 } }

local ORDERS = { fifo = 'list', lifo = 'list', priority = 'zset' }

local exists, usable, more = false, 1, 0

local function look_at_key(key, part, wanted)
  local found = redis.call('TYPE', key).ok
  if found == 'none' then return end
  exists = true
  if found ~= wanted then
    note('the key ' .. part .. ' is a ' .. found .. ': remove or rename it', '')
    usable = 0
  elseif redis.call('PTTL', key) >= 0 then
    note('the key ' .. part .. ' expires, and what is in it with it', 'it is kept')
    if repair then redis.call('PERSIST', key) end
  end
end

for _, kind in ipairs(KINDS) do look_at_key(q[kind[1]], kind[3] or kind[1], kind[2]) end
local described = redis.call('TYPE', q.info).ok == 'hash'
local order = described and redis.call('HGET', q.info, 'order') or nil
local kind = redis.call('TYPE', q.ready).ok
-- An order that is lost is what the key says, as far as that goes.
local known = order and ORDERS[order]
look_at_key(q.ready, 'ready', known or kind == 'zset' and 'zset' or 'list')
if not exists then return { -1, 0, 0, 0, 0, 0, wrong } end
if usable == 0 then return { 0, 0, 0, 0, 0, 0, wrong } end
local becomes = kind == 'zset' and 'priority' or 'fifo'

-- What was there before anything is mended.
local stored = {}
for _, field in ipairs(FIELDS) do
  local name, least, most = field[1], field[2], field[3]
  local value = tonumber(redis.call('HGET', q.info, name) or '')
  if value and value >= least and value <= most then stored[name] = value end
end

if not described then
  note('its options and counters are missing', 'the defaults, and what its tasks say')
  if repair then
    create(q)
    redis.call('HSET', q.info, 'order', becomes, 'added', now)
  end
else
  for _, field in ipairs(FIELDS) do
    local name, default = field[1], field[4]
    if not stored[name] then
      -- No queue was told of as many tasks as the clock counts milliseconds.
      note(name .. ' is out of bounds or missing', name == 'added' and 'it is set above all that were given' or 'the default, or what its tasks say')
      if repair then redis.call('HSET', q.info, name, string.format('%.0f', default)) end
    end
  end
  if not known then
    note('its order is none', 'it is ' .. becomes)
    if repair then redis.call('HSET', q.info, 'order', becomes) end
  end
  for _, field in ipairs(LIMITS) do
    local name, least, most = field[1], field[2], field[3]
    local value = redis.call('HGET', q.info, name)
    local number = tonumber(value or '')
    if value and not (number and number >= least and number <= most) then
      note(name .. ' is out of bounds', 'there is none')
      if repair then redis.call('HDEL', q.info, name) end
    end
  end
  local paused = redis.call('HGET', q.info, 'paused')
  if paused and paused ~= '1' and paused ~= '0' then
    note('whether it is paused cannot be read', 'it is not')
    if repair then redis.call('HDEL', q.info, 'paused') end
  end
end

-- The counter of deaths, and the set whose scores it gave.
local highest = tonumber(redis.call('ZREVRANGE', q.dead, 0, 0, 'WITHSCORES')[2] or 0)
if (stored.deaths or 0) < highest then
  -- A missing one was told of already.
  if stored.deaths then note('the counter deaths is below what was given in dead', 'it is set to that') end
  if repair then redis.call('HSET', q.info, 'deaths', string.format('%.0f', highest)) end
end

local ghosts = 0
for _, gone in ipairs(redis.call('HVALS', q.gone)) do ghosts = ghosts + tonumber(string.match(gone, '^(%d+):%d+$') or 0) end
local counted = redis.call('HGET', q.info, 'ghosts') or '0'
if tonumber(counted) ~= ghosts then
  note('the counter ghosts is ' .. counted .. ', but there are ' .. ghosts, 'it is counted again')
  if repair then
    redis.call('HDEL', q.info, 'ghosts')
    if ghosts > 0 then redis.call('HSET', q.info, 'ghosts', ghosts) end
  end
end

if described and redis.call('EXISTS', q.dead) == 1 and not tonumber(redis.call('HGET', q.info, 'died') or '') then
  note('when the first of its dead died is missing', 'now')
end
if described and redis.call('EXISTS', q.remembered, q.seen, q.untils) > 0 and not tonumber(redis.call('HGET', q.info, 'forget') or '') then
  note('when to forget is missing', 'soon')
end
if repair then
  if redis.call('EXISTS', q.dead) == 1 and not tonumber(redis.call('HGET', q.info, 'died') or '') then redis.call('HSET', q.info, 'died', now) end
  if redis.call('EXISTS', q.remembered, q.seen, q.untils) > 0 and not tonumber(redis.call('HGET', q.info, 'forget') or '') then
    redis.call('HSET', q.info, 'forget', now + FORGET)
  end
end

local over = redis.call('ZCARD', q.dead) - MAX_DEAD
if over > 0 then
  note('it has more dead tasks than the limit of ' .. MAX_DEAD, 'the oldest of them go')
  if repair then
    for _, oldest in ipairs(redis.call('ZRANGE', q.dead, 0, math.min(over, UPKEEP) - 1)) do
      redis.call('ZREM', q.dead, oldest)
      remove(q, oldest)
    end
    if over > UPKEEP then more = 1 end
  end
end
local list = (known or ORDERS[becomes]) == 'list'
local waiting = list and redis.call('LLEN', q.ready) or redis.call('ZCARD', q.ready)
return { redis.call('HLEN', q.body), waiting, usable, more, stored.added or now, list and 1 or 0, wrong }
