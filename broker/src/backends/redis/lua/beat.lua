-- Renews leases where the short way does not go: see `beat_plain.lua`.
local function renew_one(run, id)
  local q = run.q
  local p = held(q, id, tonumber(run.epoch), run.holder)
  -- Without its body a task that is not plain cannot be settled; when its lease runs out, the next claim drops it.
  if not p or redis.call('HEXISTS', q.body, id) == 0 then return 0 end
  renew(q, { id })
  if run.tells ~= '' then
    p.reported = run.tells
    save(q, id, p)
  end
  return p.cancelled and 2 or 1
end

for _, run in ipairs(runs) do
  for at, id in ipairs(run.ids) do
    answers[run.before + at] = answers[run.before + at] or renew_one(run, id)
  end
end
return answers
