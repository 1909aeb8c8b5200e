-- What became of tasks. ARGV: ids of queue 0. Returns for each 0 unknown, 1 pending, or a letter and a text: P pending and what its holder told,
-- D and the result, C cancelled, X and why it is dead. Stops before one reply becomes too large, but not before the first.
local q = queue(0)
local answers, bytes = {}, 0

local function outcome(id)
  if redis.call('HEXISTS', q.body, id) == 1 then
    local p = progress(q, id)
    if redis.call('ZSCORE', q.dead, id) then return 'X' .. p.error end
    return p.reported and 'P' .. p.reported or 1
  end
  local till = redis.call('ZSCORE', q.untils, id)
  local kept = till and tonumber(till) > now and redis.call('HGET', q.results, id)
  return kept and string.sub(kept, 2) or 0
end

for at = 1, #ARGV do
  local answer = outcome(ARGV[at])
  bytes = bytes + (type(answer) == 'string' and #answer or 0)
  if at > 1 and bytes > MAX_BYTES then break end
  answers[at] = answer
end
return answers
