-- The short way of beats: of plain tasks that tell nothing.
-- ARGV: lease in ms, then the beats by runs of those that have these in common: queue, epoch, holder, what they tell of their progress or '', how many, and their ids.
-- Returns for each 1 kept, 2 kept but to be cancelled, 0 lost.
local lease = tonumber(ARGV[1])
local answers, answered, total = {}, 0, 0

-- Removed first: a server out of memory refuses scripts whose first write may need some, and a refused beat would be a lost lease.
local function renew(q, ids)
  local leases = {}
  for at, id in ipairs(ids) do leases[2 * at - 1], leases[2 * at] = now + lease, id end
  redis.call('ZREM', q.lease, unpack(ids))
  zadd(q.lease, 0, leases)
end

-- The runs: where their ids stand in ARGV, and how many there are before.
local runs = {}
do
  local at = 2
  while at <= #ARGV do
    local count = tonumber(ARGV[at + 4])
    runs[#runs + 1] = { q = queue(tonumber(ARGV[at])), epoch = ARGV[at + 1], holder = ARGV[at + 2], tells = ARGV[at + 3], before = total,
      ids = { unpack(ARGV, at + 5, at + 4 + count) } }
    total = total + count
    at = at + 5 + count
  end
end

-- Renews the leases of the plain tasks of a run, and answers them.
local function renew_plain(run)
  local kept = {}
  for number, plain in ipairs(plain_claims(run.q, run.ids, run.epoch, run.holder)) do
    if plain then
      kept[#kept + 1] = run.ids[number]
      answers[run.before + number] = 1
    end
  end
  answered = answered + #kept
  if #kept > 0 then renew(run.q, kept) end
end

for _, run in ipairs(runs) do
  if run.tells == '' then renew_plain(run) end
end
if answered == total then return answers end
