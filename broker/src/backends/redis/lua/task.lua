-- What is known of one task of queue 0, and why it is not running. ARGV: id, whether its body is wanted (1 or 0).
-- Returns, where there is none, what became of it: D done, C cancelled, S settled and remembered, U unknown. Else what `describe` says; the body, or
-- nothing; what its holder told, or nothing; its history (by turns ms and text); paused (1 or 0), when (ms; -1 where that is not known) and by whom; how many are ahead of it; whether there
-- may be more (1 or 0); how many tasks of its key have a permit; how many may, or 0; ms until the interval of its key is over, or -1; and
-- whether it may still be claimed (1 or 0).
local q = queue(0)
local id = ARGV[1]

local function ended()
  local till = redis.call('ZSCORE', q.untils, id)
  local kept = till and tonumber(till) > now and redis.call('HGET', q.results, id)
  if kept then return string.sub(kept, 2, 2) end
  local remembered = redis.call('ZSCORE', q.remembered, id)
  return remembered and tonumber(remembered) > now and 'S' or 'U'
end

-- Where it is, in which set, and as which entry of that. In no set: in the list.
local function find(p, h)
  local score = redis.call('ZSCORE', q.dead, id)
  if score then return { state = 'd' } end
  score = redis.call('ZSCORE', q.lease, id)
  if score then return { state = 'l', at = tonumber(score) } end
  local at = entry(p.seq, id)
  score = redis.call('ZSCORE', q.due, at)
  if score then return { state = 's', at = tonumber(score) } end
  if h.key and redis.call('ZSCORE', q.held, held_entry(q, id, p, h)) then
    return { state = 'h', set = q.held, entry = held_entry(q, id, p, h) }
  end
  if redis.call('ZSCORE', q.alone, at) then return { state = 'a', set = q.alone, entry = at } end
  local set = by_priority(q) and q.ready or q.returned
  if redis.call('ZSCORE', set, at) then return { state = 'r', set = set, entry = at } end
  return { state = 'r' }
end

-- How much of a list is read at a time.
local PAGE = 256

-- How many are ahead of it in the list, and whether there may be more: counted to where the limit is, as a list has no rank.
local function ahead_in_list()
  local ahead = redis.call('ZCARD', q.returned)
  if by_priority(q) or ahead >= MAX_AHEAD then return ahead, ahead >= MAX_AHEAD end
  for from = 0, MAX_AHEAD - 1, PAGE do
    local page = redis.call('LRANGE', q.ready, from, from + PAGE - 1)
    for _, at in ipairs(page) do
      local other, seq = parts(at)
      if not is_ghost(q, other, seq) then
        if other == id then return math.min(ahead, MAX_AHEAD), ahead >= MAX_AHEAD end
        ahead = ahead + 1
      end
    end
  end
  return math.min(ahead, MAX_AHEAD), true
end

local function ahead_of(spot, h)
  if spot.state == 'h' then
    local ahead = redis.call('ZLEXCOUNT', q.held, '[' .. h.key .. '\0', '(' .. spot.entry)
    return math.min(ahead, MAX_AHEAD), ahead >= MAX_AHEAD
  elseif spot.set then
    local ahead = redis.call('ZRANK', spot.set, spot.entry)
    return math.min(ahead, MAX_AHEAD), ahead >= MAX_AHEAD
  elseif spot.state == 'r' then
    return ahead_in_list()
  end
  return 0, false
end

local body = redis.call('HGET', q.body, id)
if not body then return { ended() } end
local h = header(body)
local spot = find(stored(q, id), h)
spot.id, spot.a, spot.b, spot.c = id, 0, 0, ''
local reply = {}
local p = describe(q, reply, spot, body)
local ahead, more = ahead_of(spot, h)
local permits, opens = 0, -1
if h.key then
  permits = redis.call('ZLEXCOUNT', q.permits, '[' .. h.key .. '\0', '(' .. h.key .. '\1')
  local open = tonumber(redis.call('ZSCORE', q.opening, h.key) or nil)
  if open and open > now then opens = open - now end
end
local till = redis.call('ZSCORE', q.expiring, id)
local paused = redis.call('HMGET', q.info, 'paused_at', 'paused_by')
local wanted = ARGV[2] == '1' and body or ''
for _, value in ipairs({ wanted, p.reported or '', p.history or {}, about(q).paused and 1 or 0, tonumber(paused[1] or nil) or -1, paused[2] or '', ahead, more and 1 or 0, permits,
  about(q).key_limit or 0, opens, till and tonumber(till) <= now and 0 or 1 }) do
  reply[#reply + 1] = value
end
return reply
