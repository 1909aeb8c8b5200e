-- The short way of plain tasks: many of them by a few commands, as most are plain. What says of a task what is kept, counted or let go when it
-- ends is among its options, and a plain one has none. All else goes the long way, in the same script.

-- Whether a body is that of a plain task.
local function is_plain(body)
  local format = string.byte(body)
  local from = format == 2 and 2 or format == 3 and 10
  return from and string.find(body, '^[^\n]*\n\n', from) ~= nil
end

-- What is stored of a plain task at its first claim, but for its sequence. That it is stored says that the task is plain, has this epoch and this holder, and that
-- nothing happened to it since.
local function plain_claim(epoch, holder) return '\2' .. struct.pack('>I8', epoch) .. holder end

-- What is stored of it: see above.
local function plain_state(claim, seq) return claim .. struct.pack('>I8', seq) end

-- Which of these ids are plain tasks whose lease is that of a first claim, with this epoch and this holder.
local function plain_claims(q, ids, epoch, holder)
  local plain, claim = {}, plain_claim(tonumber(epoch), holder)
  local leases, states = redis.call('ZMSCORE', q.lease, unpack(ids)), redis.call('HMGET', q.state, unpack(ids))
  for number = 1, #ids do
    local state = states[number]
    plain[number] = leases[number] and state and #state == #claim + 8 and string.sub(state, 1, #claim) == claim
  end
  return plain
end
