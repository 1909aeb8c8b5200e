-- Makes sure that a queue exists, with these options if any are given and nothing speaks against it: other options that were configured before,
-- or tasks whose order would change. ARGV: configure (1 or 0), capacity, remember_ids, order, key_limit or '', key_interval. `status` follows, and returns how the queue
-- stands then.
local q = queue(0)
create(q)

local function configure(capacity, remember_ids, order, key_limit, key_interval)
  local have = redis.call('HMGET', q.info, 'capacity', 'remember_ids', 'order', 'configured')
  local same = have[1] == capacity and have[2] == remember_ids and q.about.order == order
    and q.about.key_limit == tonumber(key_limit) and q.about.key_interval == tonumber(key_interval)
  if have[4] == '1' then return end
  if q.about.order ~= order then
    if unsettled(q) > 0 then return end
    -- Only ghosts can be left, and another order may need another type.
    redis.call('UNLINK', q.ready, q.gone)
    redis.call('HDEL', q.info, 'ghosts')
  end
  if not same then redis.call('HINCRBY', q.info, 'revision', 1) end
  redis.call('HSET', q.info, 'capacity', capacity, 'remember_ids', remember_ids, 'order', order, 'configured', 1)
  if key_limit ~= '' then redis.call('HSET', q.info, 'key_limit', key_limit) end
  if key_interval ~= '0' then redis.call('HSET', q.info, 'key_interval', key_interval) end
  q.about = nil
end

if ARGV[1] == '1' then configure(ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]) end
