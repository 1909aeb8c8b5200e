-- Looks at some ids of one queue: whether each is in exactly one place, with what it needs there.
-- ARGV: channel, repair (1 or 0), look (1 or 0), the last sequence given when entries were listed, then for each its id, the sequences of
-- its entries and, again, of those in a list, as far as is known, with commas, how many entries in held are known, and those. To look for an
-- entry in the list takes a time that grows with the list, so only what seems wrong without is looked at again with it.
-- Returns for each that is wrong: its number, what is wrong, and how it is repaired, or nothing. And of each that is unsettled and has one, the batch; '' for
-- one whose batch only a newer version can read.
--
-- `fsck_read.lua`, `fsck_places.lua` and `fsck_keys.lua` stand before this, and before those `fsck_asked.lua`.

local function look_at(number, id, seqs, known, held)
  local function note(what, how)
    for _, value in ipairs({ tostring(number), what, how }) do wrong[#wrong + 1] = value end
  end
  local before = #wrong
  local p, whole, bare = read_state(id)
  if p then seqs = once(seqs, { p.seq }) end

  local live = look_at_ghosts(id, seqs, known, note)
  local body = redis.call('HGET', q.body, id)
  local h = read_header(body or '')
  local own = h and h.key and p and held_entry(q, id, p, h)
  local places, there, scores = find(id, seqs, live, own and once(held, { own }) or held)
  local all = table.concat(places, ' and ')
  local expiring = redis.call('ZSCORE', q.expiring, id)
  if not body then
    if #places > 0 then note('it is in ' .. all .. ', but is no task', 'it is removed there') end
    if redis.call('HEXISTS', q.state, id) == 1 then note('it has a state, but is no task', 'the state is removed') end
    if expiring then note('it expires, but is no task', 'the time is removed') end
    if repair then
      for _, place in ipairs(places) do take_out(id, place, there) end
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

  -- Where it belongs when it is ready again: if it has a key, behind the others of that, who may let it go at once.
  local function given_back()
    if h and h.key then
      p.returned = p.epoch > 0 and p.seq > 0 or nil
      return 'held'
    end
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
  if to ~= 'dead' and not h and not is_newer(body) then
    note('its body cannot be read', 'it becomes dead, and is kept')
    to = 'dead'
    p.error = 'its body cannot be read'
  end
  h = h or header(body)
  if to == 'held' and #there.held > 0 then
    if not h.key then
      note('it waits for its key, but has none', 'it becomes ready, uncharged')
      to = given_back()
    elseif there.held[1].at ~= own and not lost then
      note('it stands at another place than its order says', 'its own')
    end
  end
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
  -- What crashed is put off, and runs alone when it is due.
  if to == 'due' and p.deaths > 0 and (p.deaths < 2 or p.crashes == 0) then
    note('it is due later, and has a row of deaths that no crash explains', 'the row is cleared')
    p.deaths = 0
  end
  local alone = to == 'lease' and p.deaths >= 2
  if p.alone ~= alone then
    if to == 'lease' or #places == 1 and places[1] == to then
      note('whether it runs alone is not what its place and the deaths of its holders say', 'they decide')
    end
    p.alone = alone
  end
  if p.reported and to ~= 'lease' then
    if scores.lease == nil then note('it tells how far it is, but nobody holds it', 'that is removed') end
    p.reported = nil
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
  local waits = to == 'ready' or to == 'due' or to == 'held'
  local expires = h.expires and waits and p.epoch == 0
  if expiring and not expires then
    note('it expires, but was claimed, or was never to expire', 'it does not expire')
  elseif expires and bare and not expiring then
    note('it is to expire, but at no time', 'its time begins now')
  end

  local takes_key = look_at_unique(id, h, to, note)
  look_at_permits(id, h, to, there, note)
  if to ~= 'dead' then unsettled_of[#unsettled_of + 1] = is_newer(body) and '' or h.batch end

  if not repair or #wrong == before then return end
  if remembered then redis.call('ZREM', q.remembered, id) end
  if takes_key then take_key(q, id, h) end
  if expiring and not expires then
    redis.call('ZREM', q.expiring, id)
  elseif expires and bare and not expiring then
    redis.call('ZADD', q.expiring, now + h.expires, id)
  end
  if not waits then bare = false end
  mend_permits(id, h, to)
  -- In the list its entry is its place; elsewhere its sequence is.
  local stays = to == 'ready' and list and there.ready[1] and there.ready[1].seq
  if not stays and seq and (p.seq == 0 or lost) then p.seq = seq end
  for _, place in ipairs(places) do
    if place ~= to then
      take_out(id, place, there)
    elseif place ~= 'lease' and place ~= 'dead' then
      take_out(id, place, there, stays or p.seq)
    end
  end
  local function keep()
    if not bare then save(q, id, p) elseif to == 'due' or not list then save(q, id, { seq = p.seq }) else redis.call('HDEL', q.state, id) end
  end
  if to == 'held' then
    if p.seq == 0 then p.seq = next_sequence(q) end
    stand_in_line(q, id, bare and { seq = p.seq } or p, h)
  else
    keep()
  end
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
  if h.key then admit(q, h.key) end
  q.got_ready, q.got_settled = true, true
end

local at = 5
while at <= #ARGV do
  local held = {}
  for entry = at + 4, at + 3 + tonumber(ARGV[at + 3]) do held[#held + 1] = ARGV[entry] end
  look_at(asked, ARGV[at], numbers(ARGV[at + 1]), numbers(ARGV[at + 2]), held)
  asked = asked + 1
  at = at + 4 + #held
end
finish(ARGV[1])
return { wrong, unsettled_of }
