-- Arrow revive: dead -> ready. ARGV: channel, then ids of queue 0. Returns for each 1 revived, 0 not dead, 2 full, or the id of the task that has
-- its key.
local q = queue(0)
local answers = {}

local function revive(id)
  local body = redis.call('ZSCORE', q.dead, id) and redis.call('HGET', q.body, id)
  if not body then return 0 end
  local h = header(body)
  local other = holder_of(q, h.unique)
  -- Its own key may still be held in its memory.
  if other and other ~= id then return other end
  if is_full(q) then return 2 end
  redis.call('ZREM', q.dead, id)
  -- Everything begins anew but the epoch and the history.
  local was, p = progress(q, id), no_progress(0)
  p.epoch, p.history = was.epoch, was.history
  rejoin(h)
  if h.key then
    p.seq = next_sequence(q)
    save(q, id, p)
    stand_in_line(q, id, p, h, true)
  else
    save(q, id, p)
    line_up(q, id, p, h)
  end
  take_key(q, id, h)
  q.unsettled = q.unsettled + 1
  q.got_ready = true
  return 1
end

for at = 2, #ARGV do answers[#answers + 1] = revive(ARGV[at]) end
finish(ARGV[1])
return answers
