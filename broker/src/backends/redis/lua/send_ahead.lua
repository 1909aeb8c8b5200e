-- Sends a new task of which nothing is special (`special` in `body.rs`) to a session with credit, if there is one that hears it. It has its body and its sequence already.
-- What is published is a line of: its epoch, the server's clock in ms, the length of the id, and the queue; then the id and the body.
local function send_ahead(channel, q, id, body, seq)
  -- First what mostly says no.
  if redis.call('EXISTS', q.credit) == 0 or q.unsettled ~= 0 and redis.call('EXISTS', q.ready) == 1 or not is_clear(q) then return false end
  local generation = tonumber(redis.call('HGET', KEYS[1], 'epochs_from'))
  if not generation then return false end
  local epoch = next_epoch(0, generation)
  local told = string.format('%.0f %.0f %d %s\n', epoch, now, #id, name_of(q)) .. id .. body
  for _ = 1, 16 do
    local session = redis.call('ZPOPMIN', q.credit)
    if not session[1] then return false end
    local holder, lease = sub(session[1], 1, 16), struct.unpack('>I4', session[1], 17)
    -- Nobody hears it: that session has ended, or its connection.
    if now - tonumber(session[2]) < KEEP_CREDIT and redis.call('PUBLISH', channel .. ':' .. holder, told) > 0 then
      redis.call('HSET', q.state, id, first_state(body, plain_claim(epoch, holder), epoch, holder, pack('>I8', seq)))
      redis.call('ZADD', q.lease, string.format('%.0f', now + lease), id)
      return true
    end
  end
  return false
end
