-- What became of tasks. ARGV: ids of queue 0. Returns for each 0 unknown, 1 pending, or a letter and a text: P pending and what its holder told,
-- D and the result, C cancelled, X and why it is dead. Stops before one reply becomes too large, but not before the first.
local q = queue(0)
local answers, bytes = {}, 0
-- Of a task there is either a body or, once it has ended, a result: an earlier result of its id is gone when it is enqueued.
local states, untils = redis.call('HMGET', q.state, unpack(ARGV)), redis.call('ZMSCORE', q.untils, unpack(ARGV))
local dead = redis.call('EXISTS', q.dead) == 1 and redis.call('ZMSCORE', q.dead, unpack(ARGV)) or {}

local function outcome(at, id)
  local till = untils[at]
  if till then
    local kept = tonumber(till) > now and redis.call('HGET', q.results, id)
    return kept and string.sub(kept, 2) or 0
  end
  if redis.call('HEXISTS', q.body, id) == 0 then return 0 end
  local p = states[at] and parse_state(states[at]) or no_progress(0)
  if dead[at] then return 'X' .. p.error end
  return p.reported and 'P' .. p.reported or 1
end

for at = 1, #ARGV do
  local answer = outcome(at, ARGV[at])
  bytes = bytes + (type(answer) == 'string' and #answer or 0)
  if at > 1 and bytes > MAX_BYTES then break end
  answers[at] = answer
end
return answers
