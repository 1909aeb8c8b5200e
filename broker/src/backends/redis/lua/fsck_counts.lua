-- Compares the counts of batches with their tasks, which were counted in many steps. Where anything happened to a batch meanwhile, nothing is said.
-- ARGV: channel, repair (1 or 0), then for each batch: its name, its record before its tasks were counted or '', and how many are unsettled.
-- Returns what is wrong: for each what, and how it is repaired.
local repair, wrong = ARGV[2] == '1', {}
for at = 3, #ARGV, 3 do
  local name, record, counted = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local b = batch(name)
  if (redis.call('HGET', KEYS[2], name) or '') == record and b.unsettled ~= counted then
    wrong[#wrong + 1] = string.format('batch %s counts %.0f unsettled tasks, but there are %.0f', name, b.unsettled, counted)
    wrong[#wrong + 1] = 'they are counted again'
    if repair then
      if b.unsettled == 0 then begin_batch(name, b) end
      b.unsettled = counted
      note_change(b)
      if counted == 0 then end_batch(name, b) end
      news_for_all = true
    end
  end
end
finish(ARGV[1])
return wrong
