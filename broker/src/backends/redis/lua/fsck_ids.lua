-- Lists what is in one key of a queue, some at a time.
-- ARGV: the key's part, cursor, count. Returns the next cursor (0 after the last), how many bytes were read, and what is there: of body all
-- ids, of ready, returned, alone, due and held all entries, of other keys the ids that are no task's.
local q, part, cursor, count = queue(0), ARGV[1], ARGV[2], ARGV[3]
local listed, bytes, next = {}, 0, '0'

local ALL = { body = true, ready = true, returned = true, alone = true, due = true, held = true }
local HASHES = { body = true, state = true, gone = true }

if part == 'ready' and not by_priority(q) then
  -- From the end: what is taken from the front or put there moves nothing, and what is added moves the rest away from the end, so that
  -- some are seen twice, and none that stays is missed.
  local from = tonumber(cursor)
  listed = redis.call('LRANGE', q.ready, -from - count, -from - 1)
  if #listed == tonumber(count) then next = tostring(from + #listed) end
else
  local found = redis.call(HASHES[part] and 'HSCAN' or 'ZSCAN', q[part], cursor, 'COUNT', count)
  next = found[1]
  for at = 1, #found[2], 2 do
    local id = found[2][at]
    bytes = bytes + #found[2][at + 1]
    if ALL[part] or redis.call('HEXISTS', q.body, id) == 0 then listed[#listed + 1] = id end
  end
end
return { next, bytes, listed }
