-- How a batch stands, or how it ended. ARGV: its name. Returns how many are unsettled, done, dead and cancelled; nothing if it is not known.
local b = batch(ARGV[1])
if b.unsettled == 0 then
  local till = redis.call('ZSCORE', KEYS[4], ARGV[1])
  if not till or tonumber(till) <= now then return {} end
end
return { b.unsettled, b.done, b.dead, b.cancelled }
