-- The short way of plain tasks: many of them by a few commands, as most are plain. What says of a task what is kept, counted or let go when it
-- ends is its header, and that of a plain one has nothing of it. All else goes the long way, in the same script.

-- Whether a body is that of a plain task.
local function is_plain(body)
  return string.find(body, '^\1{"name":"[^"\\]*","given":false,"max_attempts":%d+,"max_crashes":%d+}\n') ~= nil
end

-- What `save` would write of a plain task at its first claim, but for its sequence: a map of eleven fields in msgpack, in this order. That these bytes are
-- stored says that the task is plain, has this epoch and this holder, and that nothing happened to it since.
local function plain_claim(epoch, holder)
  return '\1\139\165plain\195\165epoch\207' .. struct.pack('>I8', epoch) .. '\166holder\176' .. holder
    .. '\168attempts\0\167crashes\0\166deaths\0\165parks\0\165since\0\165alone\194\165error\160\163seq\207'
end

-- What is stored of it: see above.
local function plain_state(claim, seq) return claim .. struct.pack('>I8', seq) end

-- Which of these ids are plain tasks whose lease is that of a first claim: `of` says by the number of an id of which epoch and holder.
local function plain_claims(q, ids, of)
  local plain, claims = {}, {}
  local leases, states = redis.call('ZMSCORE', q.lease, unpack(ids)), redis.call('HMGET', q.state, unpack(ids))
  for number in ipairs(ids) do
    local epoch, holder = of(number)
    -- Most have one epoch and one holder.
    local name = epoch .. ' ' .. holder
    claims[name] = claims[name] or plain_claim(tonumber(epoch), holder)
    local state, claim = states[number], claims[name]
    plain[number] = leases[number] and state and #state == #claim + 8 and string.sub(state, 1, #claim) == claim
  end
  return plain
end
