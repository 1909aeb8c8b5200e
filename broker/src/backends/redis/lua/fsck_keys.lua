-- What a task has by its keys: the unique key, and a permit of the other one.

-- Tells whether the task gets its unique key.
local function look_at_unique(id, h, to, note)
  local holder = h.unique and redis.call('HGET', q.unique, h.unique)
  if not h.unique or to == 'dead' or holder == id then return false end
  local other = holder and not redis.call('ZSCORE', q.seen, h.unique) and redis.call('HGET', q.body, holder)
  other = other and not redis.call('ZSCORE', q.dead, holder) and read_header(other)
  if other and other.unique == h.unique then
    note('its unique key ' .. h.unique .. ' is held by another task: cancel one of them', '')
    return false
  end
  note('its unique key ' .. h.unique .. ' is not its own', 'it gets it')
  return true
end

-- What a permit says of a task in this place.
local PERMITS = { ready = 'r', returned = 'r', alone = 'r', lease = 'l' }

-- A task that is ready or leased has one permit of its key, and no other task has any.
local function look_at_permits(id, h, to, there, note)
  if not h.key then return end
  for _, what in ipairs({ 'r', 'l' }) do
    local has, wanted = redis.call('ZSCORE', q.permits, permit(id, h, what)), PERMITS[to] == what
    if wanted and not has then
      note('it has no permit of its key', 'it gets one')
    elseif has and not wanted then
      note('it has a permit of its key of which it has no use', 'the permit is removed')
    end
  end
  -- The next claim lets one go whose interval is over.
  if to == 'held' and may_go(q, h.key) and not redis.call('ZSCORE', q.opening, h.key) then
    local first = first_held(q, h.key)
    if there.held[1] and first == there.held[1].at then note('it waits for its key, which is free', 'it becomes ready') end
  end
end

local function mend_permits(id, h, to)
  if not h.key then return end
  give_back_permit(q, id, h)
  if PERMITS[to] then redis.call('ZADD', q.permits, 0, permit(id, h, PERMITS[to])) end
end
