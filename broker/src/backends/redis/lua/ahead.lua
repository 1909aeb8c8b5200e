-- What a claim and what sends ahead both ask.

-- The generation's epochs begin here.
local EPOCHS = 1048576

-- The epoch of a claim after this one.
local function next_epoch(epoch, generation) return math.max(epoch + 1, generation * EPOCHS) end

-- The lowest score of a set.
local function lowest(set) return tonumber(redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2]) end

-- Whether a claim has nothing to do but to hand out what is ready, and nothing goes before that; and when the next task is due and the next lease over.
local function is_clear(q)
  local info = about(q)
  if info.closed or info.paused or info.limits or info.ghosts > 0 then return false end
  if info.died and info.died + KEEP_DEAD <= now or info.forget and info.forget <= now then return false end
  -- Counted on the way to an enqueue.
  if q.unsettled == 0 then return true end
  if redis.call('EXISTS', q.alone, q.returned, q.expiring) > 0 then return false end
  local due, deadline = lowest(q.due), lowest(q.lease)
  if due and due <= now or deadline and deadline <= now then return false end
  return true, due, deadline
end
