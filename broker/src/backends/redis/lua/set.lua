-- Changes the options of a queue, where nothing speaks against it: that they were changed since, or tasks that they would not fit. ARGV: channel,
-- revision, capacity, remember_ids, order, key_limit or '', key_interval. `status` follows, and returns how the queue stands then.
local q = queue(0)

local function set(revision, capacity, remember_ids, order, key_limit, key_interval)
  local info = about(q)
  if info.capacity == tonumber(capacity) and info.remember_ids == tonumber(remember_ids) and info.order == order
    and info.key_limit == tonumber(key_limit) and info.key_interval == tonumber(key_interval)
  then
    create(q)
    redis.call('HSET', q.info, 'configured', 1)
    return
  end
  -- A missing queue is as one that was just made with defaults.
  if (redis.call('HGET', q.info, 'revision') or '1') ~= revision then return end
  local changes_order = info.order ~= order
  local loses_limits = info.limits and key_limit == '' and key_interval == '0'
  if changes_order and unsettled(q) > 0 then return end
  if loses_limits then
    if unsettled(q) + redis.call('ZCARD', q.dead) > 0 then return end
    redis.call('UNLINK', q.opening)
  end
  if changes_order then
    -- Only ghosts can be left, and another order may need another type.
    redis.call('UNLINK', q.ready, q.gone)
    redis.call('HDEL', q.info, 'ghosts')
  end
  create(q)
  redis.call('HDEL', q.info, 'key_limit', 'key_interval')
  redis.call('HINCRBY', q.info, 'revision', 1)
  redis.call('HSET', q.info, 'capacity', capacity, 'remember_ids', remember_ids, 'order', order, 'configured', 1)
  if key_limit ~= '' then redis.call('HSET', q.info, 'key_limit', key_limit) end
  if key_interval ~= '0' then redis.call('HSET', q.info, 'key_interval', key_interval) end
  q.about = nil
  admit_all(q)
  q.got_ready, q.got_settled = true, true
end

set(ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
finish(ARGV[1])
