-- Makes sure that a queue exists, with these options if any are given.
-- ARGV: configure (1 or 0), capacity, remember_ids. Returns what `status` does, preceded by 1, or by 0 if it is configured otherwise.
local q = queue(0)
create(q)
local fine = 1
if ARGV[1] == '1' then
  local have = redis.call('HMGET', q.info, 'capacity', 'remember_ids', 'configured')
  local same = have[1] == ARGV[2] and have[2] == ARGV[3]
  if have[3] == '1' then
    if not same then fine = 0 end
  else
    if not same then redis.call('HINCRBY', q.info, 'revision', 1) end
    redis.call('HSET', q.info, 'capacity', ARGV[2], 'remember_ids', ARGV[3], 'configured', 1)
  end
end
local info = redis.call('HMGET', q.info, 'capacity', 'remember_ids', 'revision', 'closed')
return { fine, info[1], info[2], info[3], info[4], count_ready(q), redis.call('ZCARD', q.due),
  redis.call('ZCARD', q.lease), redis.call('ZCARD', q.dead) }
