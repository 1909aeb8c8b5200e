-- Renews leases where the short way does not go: see `beat_plain.lua`.
for at = 2, #ARGV, 5 do
  local number = (at + 3) / 5
  if not answers[number] then
    local q, id = queue(tonumber(ARGV[at])), ARGV[at + 1]
    local p = held(q, id, tonumber(ARGV[at + 2]), ARGV[at + 3])
    answers[number] = 0
    -- Without its body a task that is not plain cannot be settled; when its lease runs out, the next claim drops it.
    if p and redis.call('HEXISTS', q.body, id) == 1 then
      renew(q, { id })
      if ARGV[at + 4] ~= '' then
        p.reported = ARGV[at + 4]
        save(q, id, p)
      end
      answers[number] = p.cancelled and 2 or 1
    end
  end
end
return answers
