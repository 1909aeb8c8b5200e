-- Lists the ids in one key of a queue, some at a time.
-- ARGV: the key's part, cursor, count. Returns the next cursor (0 after the last), how many bytes were read, and the ids: of body
-- and ready all of them, of other keys those that are no task's.
local q, part, cursor, count = queue(0), ARGV[1], ARGV[2], ARGV[3]
local ids, bytes, next = {}, 0, '0'

if part == 'ready' then
  -- From the end: what is taken from the front moves nothing, and what is added moves the rest away from the end, so that some are seen
  -- twice, and none that stays is missed.
  local from = tonumber(cursor)
  ids = redis.call('LRANGE', q.ready, -from - count, -from - 1)
  if #ids == tonumber(count) then next = tostring(from + #ids) end
else
  local found = redis.call(part == 'body' and 'HSCAN' or part == 'state' and 'HSCAN' or 'ZSCAN', q[part], cursor, 'COUNT', count)
  next = found[1]
  for at = 1, #found[2], 2 do
    local id = found[2][at]
    bytes = bytes + #found[2][at + 1]
    if part == 'body' or redis.call('HEXISTS', q.body, id) == 0 then ids[#ids + 1] = id end
  end
end
return { next, bytes, ids }
