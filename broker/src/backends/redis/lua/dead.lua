-- Lists dead tasks of queue 0, in the order of their death. ARGV: the order after which to begin, or '-inf'; how many.
-- Returns the last order that was looked at, or -1 when there are no more; and for each id, body, error, attempts, crashes, died in ms, order,
-- history (by turns ms and text).
-- Stops before one reply becomes too large, but not before the first.
local q = queue(0)
local after = ARGV[1] == '-inf' and ARGV[1] or '(' .. ARGV[1]
local found = redis.call('ZRANGEBYSCORE', q.dead, after, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local reply, bytes = { -1 }, 0
for at = 1, #found, 2 do
  local id, order = found[at], found[at + 1]
  bytes = bytes + redis.call('HSTRLEN', q.body, id)
  if #reply > 1 and bytes > MAX_BYTES then break end
  local body = redis.call('HGET', q.body, id)
  if body then
    local p = progress(q, id)
    for _, value in ipairs({ id, body, p.error, p.attempts, p.crashes, p.died or now, tonumber(order), p.history or {} }) do reply[#reply + 1] = value end
  end
  reply[1] = tonumber(order)
end
return reply
