-- Looks at some ids of one queue: whether each is in exactly one place, with what it needs there.
-- ARGV: channel, repair (1 or 0), look (1 or 0), the last sequence given when entries were listed, then for each its id, the sequences of
-- its entries and, again, of those in a list, as far as is known, with commas. To look for an entry in the list takes a time that grows with
-- the list, so only what seems wrong without is looked at again with it.
-- Returns for each that is wrong: its number, what is wrong, and how it is repaired, or nothing.
local q, repair, look, since = queue(0), ARGV[2] == '1', ARGV[3] == '1', tonumber(ARGV[4])
local wrong = {}

-- Where a task may be. One that is in several stays in the first of them: whoever holds it may go on, and else it is run the soonest.
local PLACES = { 'lease', 'alone', 'returned', 'ready', 'due', 'dead' }

-- The latest that a lease may end, and how long one lasts that ends later.
local MAX_LEASE, LEASE = 86400000, 30000

local NUMBERS = { 'epoch', 'attempts', 'crashes', 'deaths', 'parks', 'since', 'seq' }

local list = not by_priority(q)

local function is_count(value) return type(value) == 'number' and value >= 0 and value <= 2 ^ 53 end

-- The progress, whether it is as we write it, and whether it is of a task that has nothing but a sequence. Nothing when there is none.
local function read_state(id)
  local stored = redis.call('HGET', q.state, id)
  if not stored then return nil, true end
  local fine, p = pcall(cmsgpack.unpack, string.sub(stored, 2))
  if not fine or type(p) ~= 'table' or string.byte(stored) ~= 1 then return nil, false end
  if p.epoch == nil and is_count(p.seq) then return no_progress(p.seq), true, true end
  for _, name in ipairs(NUMBERS) do
    if not is_count(p[name]) then return nil, false end
  end
  if type(p.holder) ~= 'string' or type(p.error) ~= 'string' or type(p.alone) ~= 'boolean' then return nil, false end
  if p.died ~= nil and not is_count(p.died) then p.died = nil end
  return p, true
end

-- A letter, and what it says: 16 bytes, or text.
local function is_id(id)
  local kind = string.sub(id, 1, 1)
  return kind == 'u' and #id == 17 or kind == 't' and string.find(id, '^t[A-Za-z0-9._:/-]+$') ~= nil and #id <= 129
end

local function is_or_nil(value, wanted) return value == nil or type(value) == wanted end

local function read_header(body)
  local fine, h = pcall(header, body)
  if fine and type(h) == 'table' and string.byte(body) == 1 and type(h.name) == 'string' and type(h.given) == 'boolean'
    and type(h.max_attempts) == 'number' and type(h.max_crashes) == 'number' and is_or_nil(h.priority, 'number')
    and is_or_nil(h.expires, 'number') and is_or_nil(h.unique, 'string') and is_or_nil(h.hold, 'number') and is_or_nil(h.result, 'number')
  then
    return h
  end
end

-- What was added to the list since entries were listed: by id, the sequences. The list goes by sequence, and what is new is at one end.
local fresh = {}
local function list_fresh()
  local lifo, from, step = about(q).order == 'lifo', 0, 200
  while true do
    local first, last = -from - step, -from - 1
    if lifo then first, last = from, from + step - 1 end
    local any, entries = false, redis.call('LRANGE', q.ready, first, last)
    for _, at in ipairs(entries) do
      if #at > 8 then
        local id, seq = parts(at)
        if seq > since then
          any = true
          fresh[id] = fresh[id] or {}
          table.insert(fresh[id], seq)
        end
      end
    end
    if not any then return end
    from = from + step
  end
end
if look and list then list_fresh() end

local function numbers(text)
  local all = {}
  for number in string.gmatch(text, '%d+') do all[#all + 1] = tonumber(number) end
  return all
end

-- Each sequence of these once.
local function once(...)
  local all, had = {}, {}
  for _, some in ipairs({ ... }) do
    for _, seq in ipairs(some) do
      if not had[seq] then all[#all + 1] = seq end
      had[seq] = true
    end
  end
  return all
end

-- The sequences of the entries in the list, each as often as it is there.
local function in_list(id, seqs, known)
  if not list then return {} end
  if not look then return known end
  local there = {}
  for _, seq in ipairs(once(seqs, fresh[id] or {})) do
    for _ = 1, #redis.call('LPOS', q.ready, entry(seq, id), 'COUNT', 0) do there[#there + 1] = seq end
  end
  return there
end

-- An epoch may have been lost: those that come are higher than all that were given.
local function raise_generation()
  local generation = tonumber(redis.call('HGET', KEYS[1], 'generation')) or 0
  redis.call('HSET', KEYS[1], 'generation', string.format('%.0f', math.max(generation + 1, math.floor(now / 1000))))
end

local function count_ghosts(by)
  local ghosts = about(q).ghosts + by
  q.about.ghosts = ghosts
  redis.call('HDEL', q.info, 'ghosts')
  if ghosts > 0 then redis.call('HSET', q.info, 'ghosts', ghosts) end
end

local function look_at(number, id, seqs, known)
  local function note(what, how)
    for _, value in ipairs({ tostring(number), what, how }) do wrong[#wrong + 1] = value end
  end
  local before = #wrong
  local p, whole, bare = read_state(id)
  if p then seqs = once(seqs, { p.seq }) end

  -- Entries in the list: ghosts, and others.
  local stored = redis.call('HGET', q.gone, id)
  local count, last = string.match(stored or '0:0', '^(%d+):(%d+)$')
  count, last = tonumber(count or 0), tonumber(last or 0)
  local live, ghosts = {}, 0
  for _, seq in ipairs(in_list(id, seqs, known)) do
    if seq <= last then ghosts = ghosts + 1 else live[#live + 1] = seq end
  end
  if stored and (ghosts ~= count or count == 0) then
    note(count .. ' of its entries in ready are of no meaning, but ' .. ghosts .. ' are there', 'they are counted again')
    if repair then
      redis.call('HDEL', q.gone, id)
      if ghosts > 0 then redis.call('HSET', q.gone, id, string.format('%d:%.0f', ghosts, last)) end
      count_ghosts(ghosts - count)
    end
  end

  -- Every place in which it is, and its entries there with their scores.
  local places, there, scores = {}, {}, {}
  for _, place in ipairs(PLACES) do
    local entries = {}
    if place == 'lease' or place == 'dead' then
      scores[place] = tonumber(redis.call('ZSCORE', q[place], id) or nil)
      if scores[place] then places[#places + 1] = place end
    elseif place == 'ready' and list then
      for _, seq in ipairs(live) do entries[#entries + 1] = { seq = seq } end
    else
      for _, seq in ipairs(seqs) do
        local score = redis.call('ZSCORE', q[place], entry(seq, id))
        if score then entries[#entries + 1] = { seq = seq, score = tonumber(score) } end
      end
    end
    if #entries > 0 then places[#places + 1] = place end
    there[place] = entries
  end
  local all = table.concat(places, ' and ')

  -- All but one entry of one place.
  local function take_out(place, but)
    if place == 'lease' or place == 'dead' then return redis.call('ZREM', q[place], id) end
    local times = 0
    for _, found in ipairs(there[place]) do
      if place == 'ready' and list then
        if found.seq == but then times = times + 1 else redis.call('LREM', q.ready, 0, entry(found.seq, id)) end
      elseif found.seq ~= but then
        redis.call('ZREM', q[place], entry(found.seq, id))
      end
    end
    -- Where it stands first, it stays.
    local more = about(q).order == 'lifo' and times - 1 or 1 - times
    if times > 1 then redis.call('LREM', q.ready, more, entry(but, id)) end
  end

  local body = redis.call('HGET', q.body, id)
  local expiring = redis.call('ZSCORE', q.expiring, id)
  if not body then
    if #places > 0 then note('it is in ' .. all .. ', but is no task', 'it is removed there') end
    if redis.call('HEXISTS', q.state, id) == 1 then note('it has a state, but is no task', 'the state is removed') end
    if expiring then note('it expires, but is no task', 'the time is removed') end
    if repair then
      for _, place in ipairs(places) do take_out(place) end
      redis.call('HDEL', q.state, id)
      redis.call('ZREM', q.expiring, id)
    end
    return
  end

  local to, lost = places[1], false
  local needs_state = to and to ~= 'due' and not (to == 'ready' and list)
  if not whole then
    note('its state cannot be read', 'it begins anew, with a higher epoch')
    lost = true
  elseif not p and needs_state then
    note('it is in ' .. all .. ', but has no state', 'it begins anew, with a higher epoch')
    lost = true
  end
  -- A task in due that was never claimed has only a sequence there, which its entry says too.
  if not p and not lost and to == 'due' then note('it is in due, but its sequence is missing', 'the sequence of its entry') end
  local seq = to and there[to][1] and there[to][1].seq
  if p and to then
    for _, found in ipairs(there[to]) do
      if found.seq == p.seq then seq = p.seq end
    end
  end
  bare = bare or not p and not lost
  if not p then p = no_progress(seq or 0) end

  if #places > 1 then note('it is in ' .. all, 'it stays in ' .. to) end
  if to and #there[to] > 1 then note('it is in ' .. to .. ' more than once', 'it stays there once') end

  local h = read_header(body)
  -- Where it belongs when it is ready again.
  local function given_back()
    if p.deaths >= 2 then return 'alone' end
    if p.epoch == 0 and bare or not list or p.seq == 0 then return 'ready' end
    return 'returned'
  end
  if not to then
    to = given_back()
    note('it is nowhere: neither ready, due, held nor dead', 'it becomes ready, uncharged')
  end
  if to == 'lease' and (lost or p.epoch < 1 or #p.holder ~= 16) then
    if not lost then note('it is leased, but nobody can hold it', 'it becomes ready, uncharged') end
    to = given_back()
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
  if to ~= 'dead' and not h then
    note('its body cannot be read', 'it becomes dead, and is kept')
    to = 'dead'
    p.error = 'its body cannot be read'
  end
  h = h or {}
  if to == 'returned' or to == 'alone' or to == 'ready' and not list then
    local right = p.deaths >= 2 and 'alone' or list and 'returned' or 'ready'
    if to ~= right and #there[to] > 0 then
      note('it is in ' .. to .. ', but after ' .. p.deaths .. ' deaths of its holders it belongs in ' .. right, 'it is put there')
    elseif #there[to] > 0 and seq ~= p.seq and not lost then
      note('it stands at another sequence than its own', 'its own')
    else
      for _, found in ipairs(there[to]) do
        if found.seq == p.seq and found.score ~= score(q, p.seq, h) then note('it stands at another place than its order says', 'its own') end
      end
    end
    to = right
  elseif to == 'due' and seq ~= p.seq then
    note('it stands at another sequence than its own', 'its own')
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
  if p.cancelled and to ~= 'lease' and to ~= 'dead' then
    if scores.lease == nil then note('it is to be cancelled, but nobody holds it', 'it is not cancelled') end
    p.cancelled = nil
  end
  if to == 'dead' and not p.died then
    if scores.dead and not lost then note('it is dead, but not since any time', 'since now') end
    p.died = now
  elseif to ~= 'dead' and p.died then
    note('it is not dead, but has a time of its death', 'the time is removed')
    p.died = nil
  end
  local remembered = redis.call('ZSCORE', q.remembered, id)
  if remembered then note('it is remembered as settled, but is not', 'the memory of it is removed') end

  -- It expires as long as it was never claimed. One that was revived does not any more, and has more than a sequence.
  local waits = to == 'ready' or to == 'due'
  local expires = h.expires and waits and p.epoch == 0
  if expiring and not expires then
    note('it expires, but was claimed, or was never to expire', 'it does not expire')
  elseif expires and bare and not expiring then
    note('it is to expire, but at no time', 'its time begins now')
  end

  -- Its unique key is its own until it is dead.
  local holder = h.unique and redis.call('HGET', q.unique, h.unique)
  local seen = h.unique and redis.call('ZSCORE', q.seen, h.unique)
  local takes_key = false
  if h.unique and to ~= 'dead' and holder ~= id then
    local other = holder and not seen and redis.call('HGET', q.body, holder)
    other = other and not redis.call('ZSCORE', q.dead, holder) and read_header(other)
    if other and other.unique == h.unique then
      note('its unique key ' .. h.unique .. ' is held by another task: cancel one of them', '')
    else
      note('its unique key ' .. h.unique .. ' is not its own', 'it gets it')
      takes_key = true
    end
  end

  if not repair or #wrong == before then return end
  if remembered then redis.call('ZREM', q.remembered, id) end
  if takes_key then take_key(q, id, h) end
  if expiring and not expires then
    redis.call('ZREM', q.expiring, id)
  elseif expires and bare and not expiring then
    redis.call('ZADD', q.expiring, now + h.expires, id)
  end
  if to ~= 'ready' and to ~= 'due' then bare = false end
  -- In the list its entry is its place; elsewhere its sequence is.
  local stays = to == 'ready' and list and there.ready[1] and there.ready[1].seq
  if not stays and seq and (p.seq == 0 or lost) then p.seq = seq end
  for _, place in ipairs(places) do
    if place ~= to then take_out(place) elseif place ~= 'lease' and place ~= 'dead' then take_out(place, stays or p.seq) end
  end
  local function keep()
    if not bare then save(q, id, p) elseif to == 'due' or not list then save(q, id, { seq = p.seq }) else redis.call('HDEL', q.state, id) end
  end
  keep()
  if to == 'ready' and (list and not stays or p.seq == 0) then
    line_up(q, id, bare and {} or p, h)
  elseif to == 'returned' or to == 'alone' or to == 'ready' and not list then
    redis.call('ZADD', q[to], score(q, p.seq, h), entry(p.seq, id))
  elseif to == 'due' then
    redis.call('ZADD', q.due, there.due[1].score, entry(p.seq, id))
  elseif to == 'lease' then
    redis.call('ZADD', q.lease, string.format('%.0f', scores.lease), id)
  elseif to == 'dead' and not scores.dead then
    redis.call('ZADD', q.dead, redis.call('HINCRBY', q.info, 'deaths', 1), id)
    if not about(q).died then redis.call('HSET', q.info, 'died', now) end
  end
  if lost then raise_generation() end
  news = true
end

for at = 5, #ARGV, 3 do
  look_at((at - 5) / 3, ARGV[at], numbers(ARGV[at + 1]), numbers(ARGV[at + 2]))
end
finish(ARGV[1])
return wrong
