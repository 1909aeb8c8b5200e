-- What the last calls of a token's incarnation were answered, so that a repeated one gets its first answer. The key is the last one, if there is a token;
-- it expires when the last of them does.
--   calls  HASH  the sequence of a call in twenty digits -> until when it is known, in ms, in 8 bytes, and the answers as msgpack
local MAX_CALLS, KEEP_CALLS = 64, 600000

-- The answers of an earlier call with this token.
local function answered(calls, token)
  local found = redis.call('HGET', calls, token)
  if not found or struct.unpack('>I8', found) <= now then return nil end
  return cmsgpack.unpack(string.sub(found, 9))
end

-- Drops the calls that are known no more, and the first ones of those that are too many.
local function drop_calls(calls)
  local known, dropped, found = {}, {}, redis.call('HGETALL', calls)
  for at = 1, #found, 2 do
    local list = struct.unpack('>I8', found[at + 1]) > now and known or dropped
    list[#list + 1] = found[at]
  end
  table.sort(known)
  for at = 1, #known - MAX_CALLS do dropped[#dropped + 1] = known[at] end
  redis.call('HDEL', calls, unpack(dropped))
end

-- Keeps the answers of this call and of the last ones. Nearly always the calls follow one another, and the one that goes is so many before.
local function keep_answers(calls, token, answers)
  redis.call('HSET', calls, token, struct.pack('>I8', now + KEEP_CALLS) .. cmsgpack.pack(answers))
  redis.call('PEXPIRE', calls, KEEP_CALLS)
  local sequence = tonumber(token)
  if sequence < 2 ^ 53 and redis.call('HDEL', calls, string.format('%020.0f', sequence - MAX_CALLS)) == 1 then return end
  if redis.call('HLEN', calls) > MAX_CALLS then drop_calls(calls) end
end
