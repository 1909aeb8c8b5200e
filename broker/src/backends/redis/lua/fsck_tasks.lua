-- Looks at some ids of one queue: whether each is in exactly one place, with what it needs there.
-- ARGV: channel, repair (1 or 0), look (1 or 0), then for each its id, and how often it is in ready as far as is known. To look there takes a
-- time that grows with the list, so only what seems wrong without is looked at again with it.
-- Returns for each that is wrong: its number, what is wrong, and how it is repaired.
local q, repair, look = queue(0), ARGV[2] == '1', ARGV[3] == '1'
local wrong = {}

-- Where a task may be. One that is in several stays in the first of them: whoever holds it may go on, and else it is run the soonest.
local PLACES = { 'lease', 'alone', 'returned', 'ready', 'due', 'dead' }

-- The latest that a lease may end, and how long one lasts that ends later.
local MAX_LEASE, LEASE = 86400000, 30000

local NUMBERS = { 'epoch', 'attempts', 'crashes', 'deaths', 'parks', 'since', 'seq' }

-- The progress, and whether it is as we write it; nothing when there is none.
local function read_state(id)
  local stored = redis.call('HGET', q.state, id)
  if not stored then return nil, true end
  local fine, p = pcall(cmsgpack.unpack, string.sub(stored, 2))
  if not fine or type(p) ~= 'table' or string.byte(stored) ~= 1 then return nil, false end
  for _, name in ipairs(NUMBERS) do
    if type(p[name]) ~= 'number' or p[name] < 0 or p[name] > 2 ^ 53 then return nil, false end
  end
  if type(p.holder) ~= 'string' or type(p.error) ~= 'string' or type(p.alone) ~= 'boolean' then return nil, false end
  return p, true
end

-- A letter, and what it says: 16 bytes, or text.
local function is_id(id)
  local kind = string.sub(id, 1, 1)
  return kind == 'u' and #id == 17 or kind == 't' and string.find(id, '^t[A-Za-z0-9._:/-]+$') ~= nil and #id <= 129
end

local function is_readable(body)
  local fine, h = pcall(header, body)
  return fine and type(h) == 'table' and string.byte(body) == 1 and type(h.name) == 'string' and type(h.given) == 'boolean'
    and type(h.max_attempts) == 'number' and type(h.max_crashes) == 'number'
end

local function times_ready(id, known)
  if not look then return known end
  return #redis.call('LPOS', q.ready, id, 'COUNT', 0)
end

local function take_out(place, id)
  if place == 'ready' then redis.call('LREM', q.ready, 0, id) else redis.call('ZREM', q[place], id) end
end

-- An epoch may have been lost: those that come are higher than all that were given.
local function raise_generation()
  local generation = tonumber(redis.call('HGET', KEYS[1], 'generation')) or 0
  redis.call('HSET', KEYS[1], 'generation', string.format('%.0f', math.max(generation + 1, math.floor(now / 1000))))
end

local function look_at(number, id, known)
  local function note(what, how)
    for _, value in ipairs({ tostring(number), what, how }) do wrong[#wrong + 1] = value end
  end
  local before = #wrong
  local places, scores, twice = {}, {}, false
  for _, place in ipairs(PLACES) do
    if place == 'ready' then
      local times = times_ready(id, known)
      if times > 0 then places[#places + 1] = place end
      twice = times > 1
    else
      scores[place] = tonumber(redis.call('ZSCORE', q[place], id) or '')
      if scores[place] then places[#places + 1] = place end
    end
  end
  local all = table.concat(places, ' and ')

  local body = redis.call('HGET', q.body, id)
  if not body then
    if #places > 0 then note('it is in ' .. all .. ', but is no task', 'it is removed there') end
    if redis.call('HEXISTS', q.state, id) == 1 then note('it has a state, but is no task', 'the state is removed') end
    if repair then
      for _, place in ipairs(places) do take_out(place, id) end
      redis.call('HDEL', q.state, id)
    end
    return
  end

  local p, whole = read_state(id)
  local to, lost = places[1], false
  if not whole then
    note('its state cannot be read', 'it begins anew, with a higher epoch')
    lost = true
  elseif not p and to and to ~= 'ready' and to ~= 'due' then
    note('it is in ' .. all .. ', but has no state', 'it begins anew, with a higher epoch')
    lost = true
  end
  p = p or no_progress()

  if #places > 1 then note('it is in ' .. all, 'it stays in ' .. to) end
  if twice then note('it is in ready more than once', 'it stays there once') end
  if not to then
    to = (p.epoch > 0) and 'returned' or 'ready'
    note('it is nowhere: neither ready, due, held nor dead', 'it becomes ready, uncharged')
  end
  if to == 'lease' and (lost or p.epoch < 1 or #p.holder ~= 16) then
    if not lost then note('it is leased, but nobody can hold it', 'it becomes ready, uncharged') end
    to = 'returned'
  end
  if to == 'lease' and scores.lease > now + MAX_LEASE then
    note('its lease ends later than any can', 'it ends in 30 s, unless its holder lives and beats')
    scores.lease = now + LEASE
  end
  if to ~= 'dead' and not is_id(id) then
    note('its id is none', 'it becomes dead, and is kept')
    to = 'dead'
    p.error = 'its id cannot be read'
  end
  if to ~= 'dead' and not is_readable(body) then
    note('its body cannot be read', 'it becomes dead, and is kept')
    to = 'dead'
    p.error = 'its body cannot be read'
  end
  if to == 'returned' or to == 'alone' then
    local right = p.deaths >= 2 and 'alone' or 'returned'
    if to ~= right and scores[to] then
      note('it is in ' .. to .. ', but after ' .. p.deaths .. ' deaths of its holders it belongs in ' .. right, 'it is put there')
    elseif scores[right] and scores[right] ~= p.seq and not lost then
      note('it stands at another sequence than its own', 'its own')
    end
    to = right
  end
  if to == 'due' and p.deaths > 0 then
    note('it is due later, which ends a row of deaths, but has one', 'the row is cleared')
    p.deaths = 0
  end
  local alone = to == 'lease' and p.deaths >= 2
  if p.alone ~= alone then
    if to == 'lease' or #places == 1 and places[1] == to then
      note('whether it runs alone is not what its place and the deaths of its holders say', 'they decide')
    end
    p.alone = alone
  end
  local remembered = redis.call('ZSCORE', q.remembered, id)
  if remembered then note('it is remembered as settled, but is not', 'the memory of it is removed') end

  if not repair or #wrong == before then return end
  if remembered then redis.call('ZREM', q.remembered, id) end
  for _, place in ipairs(places) do
    if place ~= to then take_out(place, id) end
  end
  if to == 'ready' then
    -- Where it stands first, it stays.
    if places[1] ~= 'ready' then redis.call('RPUSH', q.ready, id) end
    if twice then redis.call('LREM', q.ready, 1 - times_ready(id, known), id) end
  elseif to == 'returned' or to == 'alone' then
    redis.call('ZADD', q[to], string.format('%.0f', p.seq), id)
  elseif to == 'lease' then
    redis.call('ZADD', q.lease, string.format('%.0f', scores.lease), id)
  elseif to == 'dead' and not scores.dead then
    redis.call('ZADD', q.dead, redis.call('HINCRBY', q.info, 'deaths', 1), id)
  end
  if lost then raise_generation() end
  -- One that was never claimed has none.
  if p.epoch > 0 or to ~= 'ready' then save(q, id, p) else redis.call('HDEL', q.state, id) end
  news = true
end

for at = 4, #ARGV, 2 do
  look_at((at - 4) / 2, ARGV[at], tonumber(ARGV[at + 1]))
end
finish(ARGV[1])
return wrong
