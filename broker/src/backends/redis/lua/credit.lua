-- A session that has room has *credit*: the next task that comes alone is sent ahead to it, under a lease as if it had claimed it, so that it needs not hear of the task first
-- and then ask. The credit is for one task. It is given by a claim that leaves room, and by the settlement of a task that was sent ahead.
--   credit  ZSET  the holder in 16 bytes, and for how long it leases, in ms, in 4 -> since when, in ms
-- Who is gone without a word has credit for so long.
local KEEP_CREDIT = 3000

local function give_credit(q, session)
  -- A removal first: claims and settlements go on where the server has no memory left.
  redis.call('ZREMRANGEBYSCORE', q.credit, '-inf', now - KEEP_CREDIT)
  redis.call('ZADD', q.credit, now, session)
  redis.call('PEXPIRE', q.credit, KEEP_CREDIT)
end
