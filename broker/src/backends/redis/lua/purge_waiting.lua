-- Cancels tasks of queue 0 that wait. ARGV: channel, how many at most, then the states in their order (h, s, r). Returns how many.
local q = queue(0)
local left, purged = tonumber(ARGV[2]), 0

-- Ends a task that is in a place still, or was taken out of it already.
local function cancel(id, taken_out)
  local body = redis.call('HGET', q.body, id)
  if not body then return end
  redis.call('ZREM', q.expiring, id)
  local p, h = progress(q, id), header(body)
  if not taken_out then leave(q, id, p, h) end
  go(q, id, p, h, 'C')
  purged = purged + 1
  left = left - 1
end

-- Takes the first tasks off the list, and the ghosts between them: as many as wanted, and a bounded number of ghosts.
local function take_off_list(most)
  local ids, looked = {}, {}
  for _, at in ipairs(redis.call('LRANGE', q.ready, 0, most + UPKEEP - 1)) do
    if #ids == most then break end
    local id, seq = parts(at)
    looked[#looked + 1] = at
    if not is_ghost(q, id, seq) then ids[#ids + 1] = id end
  end
  -- The first write: a server out of memory refuses scripts whose first write may need some.
  if #looked > 0 then redis.call('LTRIM', q.ready, #looked, -1) end
  for _, at in ipairs(looked) do was_ghost(q, parts(at)) end
  return ids
end

for at = 3, #ARGV do
  -- All of them are chosen before the first of them goes: each that goes may let others become ready.
  local chosen, listed = {}, {}
  if left > 0 then
    for _, spot in ipairs((spots_after(q, ARGV[at], nil, left))) do
      if not spot.listed then chosen[#chosen + 1] = spot.id end
    end
  end
  if ARGV[at] == 'r' and not by_priority(q) and #chosen < left then listed = take_off_list(left - #chosen) end
  for _, id in ipairs(chosen) do cancel(id, false) end
  for _, id in ipairs(listed) do cancel(id, true) end
end
finish(ARGV[1])
return purged
