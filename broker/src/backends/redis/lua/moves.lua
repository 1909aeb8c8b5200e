-- Where tasks stand, and how they come there and leave.

local MAX_DEAD = 10000

-- Makes a task ready that was not before, under a new sequence.
local function line_up(q, id, p, h)
  local seq, order = next_sequence(q), about(q).order
  if order == 'priority' then
    p.seq = seq
    save(q, id, p)
    redis.call('ZADD', q.ready, h.priority or 0, entry(seq, id))
  else
    redis.call(order == 'lifo' and 'LPUSH' or 'RPUSH', q.ready, entry(seq, id))
  end
end

-- Arrow enqueue, of a task whose id and key are free. `h` is its header where that says anything special; `due` when it becomes ready, if later.
local function add(q, id, body, h, due)
  create(q)
  local seq, held = next_sequence(q), h and h.key
  local ranked = by_priority(q) and not due and not held
  if ranked then body = with_sequence(body, seq) end
  redis.call('HSET', q.body, id, body)
  if q.unsettled then q.unsettled = q.unsettled + 1 end
  begin(q, id)
  if due then
    save(q, id, { seq = seq })
    redis.call('ZADD', q.due, due, entry(seq, id))
  elseif held then
    stand_in_line(q, id, { seq = seq }, h)
  elseif ranked then
    redis.call('ZADD', q.ready, h and h.priority or 0, entry(seq, id))
  else
    redis.call(about(q).order == 'lifo' and 'LPUSH' or 'RPUSH', q.ready, entry(seq, id))
  end
  if h then
    if h.expires then redis.call('ZADD', q.expiring, now + h.expires, id) end
    take_key(q, id, h)
    join(h)
  end
  q.got_ready = true
end

-- Takes a task out of ready, returned, alone, due or held, wherever it is.
local function leave(q, id, p, h)
  local at = entry(p.seq, id)
  if h.key and redis.call('ZREM', q.held, held_entry(q, id, p, h)) == 1 then return end
  if redis.call('ZREM', q.due, at) == 1 or redis.call('ZREM', q.returned, at) == 1 or redis.call('ZREM', q.alone, at) == 1 then return end
  if by_priority(q) then return redis.call('ZREM', q.ready, at) end
  local count = string.match(redis.call('HGET', q.gone, id) or '0', '^%d+')
  -- All entries of this id that are there now are its ghosts: a new task of this id gets a higher sequence.
  redis.call('HSET', q.gone, id, string.format('%d:%.0f', count + 1, about(q).added))
  q.about.ghosts = q.about.ghosts + 1
  redis.call('HSET', q.info, 'ghosts', q.about.ghosts)
end

-- Whether an entry that was taken off a list is a ghost, which is then no more.
local function was_ghost(q, id, seq)
  if about(q).ghosts == 0 then return false end
  local count, last = string.match(redis.call('HGET', q.gone, id) or '', '^(%d+):(%d+)$')
  if not count or seq > tonumber(last) then return false end
  if count == '1' then
    redis.call('HDEL', q.gone, id)
  else
    redis.call('HSET', q.gone, id, string.format('%d:%s', count - 1, last))
  end
  q.about.ghosts = q.about.ghosts - 1
  if q.about.ghosts == 0 then
    redis.call('DEL', q.gone)
    redis.call('HDEL', q.info, 'ghosts')
  else
    redis.call('HSET', q.info, 'ghosts', q.about.ghosts)
  end
  return true
end

-- Where a task goes when its lease ends: machine::Fate. The lease is removed first: a server out of memory refuses scripts whose first
-- write may need some, and what ends must be able to end. What its holder told is gone with it, and who waits for its key may go.

local function end_lease(q, id, p, h)
  redis.call('ZREM', q.lease, id)
  p.reported = nil
  if h.key then give_back_permit(q, id, h) end
end

-- Makes a task that is in no place ready under the sequence that it has.
local function give_back(q, id, p, h)
  if h.key then
    p.returned = true
    save(q, id, p)
    return stand_in_line(q, id, p, h, true)
  end
  local to = p.deaths >= 2 and q.alone or by_priority(q) and q.ready or q.returned
  redis.call('ZADD', to, score(q, p.seq, h), entry(p.seq, id))
  save(q, id, p)
  q.got_ready = true
end

local function go_ready(q, id, p, h)
  end_lease(q, id, p, h)
  give_back(q, id, p, h)
end

local function go_scheduled(q, id, p, h, due)
  end_lease(q, id, p, h)
  redis.call('ZADD', q.due, due, entry(p.seq, id))
  save(q, id, p)
  if h.key then admit(q, h.key) end
  q.got_ready = true
end

-- Settled or cancelled: the task is gone, and this is what became of it.
local function go(q, id, p, h, what)
  end_lease(q, id, p, h)
  remove(q, id)
  let_go_of_key(q, h)
  leave_batch(q, h, string.byte(what) == 67 and 'cancelled' or 'done')
  if h.given then remember(q, id) end
  keep_result(q, id, h, what)
  tell(q, h, id, string.sub(what, 1, 1), string.sub(what, 2))
  if h.key then admit(q, h.key) end
  q.got_settled = true
end

-- Lets go of dead tasks: those that were kept long enough, and the oldest where there are too many.
local function forget_dead(q)
  local info = about(q)
  local over = redis.call('ZCARD', q.dead) - MAX_DEAD
  if over <= 0 and (not info.died or info.died + KEEP_DEAD > now) then return end
  for _ = 1, UPKEEP do
    local id = redis.call('ZRANGE', q.dead, 0, 0)[1]
    local died = id and progress(q, id).died
    if over <= 0 and (not died or died + KEEP_DEAD > now) then
      info.died = died
      redis.call('HDEL', q.info, 'died')
      if died then redis.call('HSET', q.info, 'died', died) end
      return
    end
    redis.call('ZREM', q.dead, id)
    remove(q, id)
    over = over - 1
  end
end

local function go_dead(q, id, p, h)
  end_lease(q, id, p, h)
  let_go_of_key(q, h)
  leave_batch(q, h, 'dead')
  redis.call('ZADD', q.dead, redis.call('HINCRBY', q.info, 'deaths', 1), id)
  p.died = now
  save(q, id, p)
  if not about(q).died then
    q.about.died = now
    redis.call('HSET', q.info, 'died', now)
  end
  tell(q, h, id, 'X', p.error)
  forget_dead(q)
  if h.key then admit(q, h.key) end
  q.got_settled = true
end

-- Whether id, epoch and holder all match; returns the progress if so.
local function held(q, id, epoch, holder)
  if not redis.call('ZSCORE', q.lease, id) then return nil end
  local p = progress(q, id)
  if p.epoch == epoch and p.holder == holder then return p end
  return nil
end

-- Tells those who wait, if there is something to tell, and writes what was counted. The last step of every script that changes something.
local function finish(channel)
  count_settled()
  write_batches()
  forget_kept()
  end_step(channel)
end
