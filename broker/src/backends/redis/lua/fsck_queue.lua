-- Looks at the keys of one queue, and at its options and counters.
-- ARGV: channel, repair (1 or 0). Returns how many tasks it has, -1 for a queue that does not exist; how many of them are in ready; whether its
-- tasks can be looked at (1 or 0); whether there is more to repair (1 or 0); and what is wrong: for each what, and how it is repaired, or nothing.
local q, repair = queue(0), ARGV[2] == '1'
local wrong = {}

local function note(what, how)
  wrong[#wrong + 1] = what
  wrong[#wrong + 1] = how
end

-- What each key is.
local KINDS = {
  { 'info', 'hash' }, { 'body', 'hash' }, { 'state', 'hash' }, { 'ready', 'list' }, { 'returned', 'zset' }, { 'alone', 'zset' },
  { 'due', 'zset' }, { 'lease', 'zset' }, { 'dead', 'zset' }, { 'remembered', 'zset' },
}

-- The fields of info: the least, the most, the default.
local FIELDS = {
  { 'capacity', 1, 2 ^ 53, CAPACITY }, { 'remember_ids', 0, 2 ^ 53, REMEMBER_IDS }, { 'revision', 1, 2 ^ 53, 1 },
  { 'configured', 0, 1, 0 }, { 'closed', 0, 1, 0 }, { 'added', 0, 2 ^ 53, 0 }, { 'popped', 0, 2 ^ 53, 0 }, { 'deaths', 0, 2 ^ 53, 0 },
}

-- Counters of info, and the sets whose scores they gave.
local GIVEN = { { 'popped', 'returned' }, { 'popped', 'alone' }, { 'deaths', 'dead' } }

local exists, usable, more = false, 1, 0
for _, kind in ipairs(KINDS) do
  local found = redis.call('TYPE', q[kind[1]]).ok
  if found ~= 'none' then
    exists = true
    if found ~= kind[2] then
      note('the key ' .. kind[1] .. ' is a ' .. found .. ': remove or rename it', '')
      usable = 0
    elseif redis.call('PTTL', q[kind[1]]) >= 0 then
      note('the key ' .. kind[1] .. ' expires, and its tasks with it', 'it is kept')
      if repair then redis.call('PERSIST', q[kind[1]]) end
    end
  end
end
if not exists then return { -1, 0, 0, 0, wrong } end
if usable == 0 then return { 0, 0, 0, 0, wrong } end

-- What was there before anything is mended.
local stored, described = {}, redis.call('EXISTS', q.info) == 1
for _, field in ipairs(FIELDS) do
  local name, least, most = field[1], field[2], field[3]
  local value = tonumber(redis.call('HGET', q.info, name) or '')
  if value and value >= least and value <= most then stored[name] = value end
end

if not described then
  note('its options and counters are missing', 'the defaults, and what its tasks say')
  if repair then create(q) end
else
  for _, field in ipairs(FIELDS) do
    local name, default = field[1], field[4]
    if not stored[name] then
      note(name .. ' is out of bounds or missing', 'the default, or what its tasks say')
      if repair then redis.call('HSET', q.info, name, default) end
    end
  end
end

local reached = {}
for _, given in ipairs(GIVEN) do
  local counter, set = given[1], given[2]
  local highest = tonumber(redis.call('ZREVRANGE', q[set], 0, 0, 'WITHSCORES')[2] or 0)
  if math.max(stored[counter] or 0, reached[counter] or 0) < highest then
    -- A missing one was told of already.
    if stored[counter] then note('the counter ' .. counter .. ' is below what was given in ' .. set, 'it is set to that') end
    if repair then redis.call('HSET', q.info, counter, string.format('%.0f', highest)) end
    reached[counter] = highest
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
return { redis.call('HLEN', q.body), redis.call('LLEN', q.ready), usable, more, wrong }
