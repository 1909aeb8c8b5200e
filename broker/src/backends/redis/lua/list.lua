-- Lists tasks of queue 0 in one state. ARGV: state (r, s, h, l or d), how many, and the mark after which to begin: a, b, c, or nothing.
-- Returns whether there may be more (1 or 0), the mark that was looked at last (a, b, c), and what `describe` says of each.
-- Stops before too much was read, but not before the first.
local q = queue(0)
local max = tonumber(ARGV[2])
local mark = ARGV[3] and { a = tonumber(ARGV[3]), b = tonumber(ARGV[4]), c = ARGV[5] }
-- Past ghosts in longer strides.
local spots, more = spots_after(q, ARGV[1], mark, about(q).ghosts > 0 and UPKEEP or max)
local reply, bytes, said = { 0, 0, 0, '' }, 0, 0
for number, spot in ipairs(spots) do
  bytes = bytes + redis.call('HSTRLEN', q.body, spot.id)
  if said == max or number > 1 and bytes > MAX_BYTES then
    more = true
    break
  end
  local body = redis.call('HGET', q.body, spot.id)
  if body and not (spot.listed and is_ghost(q, spot.id, spot.seq)) then
    describe(q, reply, spot, body)
    said = said + 1
  end
  reply[2], reply[3], reply[4] = spot.a, spot.b, spot.c
end
reply[1] = more and 1 or 0
return reply
