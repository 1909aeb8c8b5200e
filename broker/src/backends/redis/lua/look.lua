-- What an operator sees of tasks. Nothing here writes.
--
-- A *spot* is a task in a place: id, state (r ready, or a ready and to run alone; s scheduled, h held, l leased, d dead), `at` (when it becomes
-- ready, until when it is leased or when it died, in ms), and what orders it in the list of its state: the numbers a and b, then the bytes c.

-- How many tasks ahead of another are counted at most.
local MAX_AHEAD = 2048

-- Whether an entry of a list is that of a task that left it. `was_ghost` drops it besides.
local function is_ghost(q, id, seq)
  if about(q).ghosts == 0 then return false end
  local last = string.match(redis.call('HGET', q.gone, id) or '', ':(%d+)$')
  return last and seq <= tonumber(last) or false
end

-- The number that `sorting` made these bytes of.
local function unsorting(bytes)
  return (struct.unpack('>i8', string.char((string.byte(bytes) + 128) % 256) .. string.sub(bytes, 2)))
end

-- Whether the first bytes come before the second: as the server sorts them, whatever its locale is.
local function bytes_before(a, b)
  for at = 1, math.min(#a, #b) do
    local x, y = string.byte(a, at), string.byte(b, at)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- Whether a spot, or a mark, comes before another one.
local function comes_before(x, y)
  if x.a ~= y.a then return x.a < y.a end
  if x.b ~= y.b then return x.b < y.b end
  return bytes_before(x.c, y.c)
end

-- Spots in the order of what they are read from: `count` of them, and `read(from, to)`, from 0.
local function zset(key, spot)
  return {
    count = redis.call('ZCARD', key),
    read = function(from, to)
      local found, spots = redis.call('ZRANGE', key, from, to, 'WITHSCORES'), {}
      for at = 1, #found, 2 do spots[#spots + 1] = spot(found[at], tonumber(found[at + 1])) end
      return spots
    end,
  }
end

local function list(key, spot)
  return {
    count = redis.call('LLEN', key),
    read = function(from, to)
      local spots = {}
      for _, at in ipairs(redis.call('LRANGE', key, from, to)) do spots[#spots + 1] = spot(at) end
      return spots
    end,
  }
end

local function spot_of(state, a_of)
  return function(at, score)
    local id, seq = parts(at)
    local a, b = a_of(score, seq)
    return { id = id, seq = seq, state = state, at = score, a = a, b = b, c = '' }
  end
end

-- Where tasks in a state are. Of those that are ready, the given back and those that run alone go before the list, each in the order of their scores.
local function sources(q, state)
  if state == 's' then
    return { zset(q.due, spot_of('s', function(score, seq) return score, seq end)) }
  elseif state == 'l' then
    return { zset(q.lease, function(id, till) return { id = id, state = 'l', at = till, a = till, b = 0, c = id } end) }
  elseif state == 'd' then
    return { zset(q.dead, function(id, order) return { id = id, state = 'd', a = order, b = 0, c = '' } end) }
  elseif by_priority(q) then
    local function by_score(score, seq) return score, seq end
    return { zset(q.ready, spot_of('r', by_score)), zset(q.alone, spot_of('a', by_score)) }
  end
  local function given_back(score) return 0, score end
  local sign = about(q).order == 'lifo' and -1 or 1
  return { zset(q.returned, spot_of('r', given_back)), zset(q.alone, spot_of('a', given_back)),
    list(q.ready, function(at)
      local id, seq = parts(at)
      return { id = id, seq = seq, state = 'r', listed = true, a = 1, b = sign * seq, c = '' }
    end) }
end

-- The place of the first that comes after a mark: in some 20 looks, of a million.
local function first_after(source, mark)
  local low, high = 0, source.count
  while mark and low < high do
    local middle = math.floor((low + high) / 2)
    local spot = source.read(middle, middle)[1]
    if spot and comes_before(mark, spot) then high = middle else low = middle + 1 end
  end
  return low
end

-- The held tasks after a mark.
local function held_after(q, mark, max)
  local from = mark and '(' .. mark.c .. '\0' .. sorting(mark.a) .. sorting(mark.b) .. '\255' or '-'
  local spots = {}
  for _, at in ipairs(redis.call('ZRANGEBYLEX', q.held, from, '+', 'LIMIT', 0, max)) do
    local zero = string.find(at, '\0', 1, true)
    spots[#spots + 1] = { id = string.sub(at, zero + 17), state = 'h', a = unsorting(string.sub(at, zero + 1, zero + 8)),
      b = unsorting(string.sub(at, zero + 9, zero + 16)), c = string.sub(at, 1, zero - 1) }
  end
  return spots, #spots == max
end

-- The first tasks in a state after a mark, at most so many, and whether there may be more. Ghosts are among them.
local function spots_after(q, state, mark, max)
  if state == 'h' then return held_after(q, mark, max) end
  local spots, more = {}, false
  for _, source in ipairs(sources(q, state)) do
    local from = first_after(source, mark)
    for _, spot in ipairs(source.read(from, from + max - 1)) do spots[#spots + 1] = spot end
    more = more or source.count - from > max
  end
  table.sort(spots, comes_before)
  more = more or #spots > max
  while #spots > max do table.remove(spots) end
  return spots, more
end

-- What is said of a task, eighteen values: id, what of the body is before the payload, bytes of the payload, state, at, ms until then, holder,
-- cancelled (1 or 0), epoch, attempts, crashes, parked since or -1, error, when it expires or -1, the mark: a, b, c; and whether the queue is by priority (1 or 0).
local function describe(q, reply, spot, body)
  local p = progress(q, spot.id)
  local _, payload = split(body)
  payload = payload or 1
  local at = spot.state == 'd' and (p.died or now) or spot.at or 0
  local said = { spot.id, string.sub(body, 1, payload - 1), #body - payload + 1, spot.state, at, math.max(0, at - now), p.holder, p.cancelled and 1 or 0,
    p.epoch, p.attempts, p.crashes, p.parks > 0 and p.since or -1, p.error, tonumber(redis.call('ZSCORE', q.expiring, spot.id) or -1),
    spot.a, spot.b, spot.c, by_priority(q) and 1 or 0 }
  for _, value in ipairs(said) do reply[#reply + 1] = value end
  return p
end
