-- Where the tasks are that `fsck_tasks.lua` looks at.

-- Where a task may be. One that is in several stays in the first of them: whoever holds it may go on, and else it is run the soonest.
local PLACES = { 'lease', 'alone', 'returned', 'ready', 'held', 'due', 'dead' }

local list = not by_priority(q)

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

local function count_ghosts(by)
  local ghosts = about(q).ghosts + by
  q.about.ghosts = ghosts
  redis.call('HDEL', q.info, 'ghosts')
  if ghosts > 0 then redis.call('HSET', q.info, 'ghosts', ghosts) end
end

-- The entries of an id in the list that are no ghosts. Counts its ghosts again where that is wrong.
local function look_at_ghosts(id, seqs, known, note)
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
  return live
end

-- Every place in which an id is, and its entries there with their scores. `held` are those in held, as far as is known.
local function find(id, seqs, live, held)
  local places, there, scores = {}, {}, {}
  for _, place in ipairs(PLACES) do
    local entries = {}
    if place == 'lease' or place == 'dead' then
      scores[place] = tonumber(redis.call('ZSCORE', q[place], id) or nil)
      if scores[place] then places[#places + 1] = place end
    elseif place == 'held' then
      for _, at in ipairs(held) do
        if redis.call('ZSCORE', q.held, at) then entries[#entries + 1] = { at = at } end
      end
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
  return places, there, scores
end

-- Takes an id out of a place, but for one entry.
local function take_out(id, place, there, but)
  if place == 'lease' or place == 'dead' then return redis.call('ZREM', q[place], id) end
  local times = 0
  for _, found in ipairs(there[place]) do
    if place == 'held' then
      redis.call('ZREM', q.held, found.at)
    elseif place == 'ready' and list then
      if found.seq == but then times = times + 1 else redis.call('LREM', q.ready, 0, entry(found.seq, id)) end
    elseif found.seq ~= but then
      redis.call('ZREM', q[place], entry(found.seq, id))
    end
  end
  -- Where it stands first, it stays.
  local more = about(q).order == 'lifo' and times - 1 or 1 - times
  if times > 1 then redis.call('LREM', q.ready, more, entry(but, id)) end
end
