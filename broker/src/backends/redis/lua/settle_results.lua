-- The middle way of arrow complete: of tasks that hand on nothing and whose end concerns nobody but who wants the result.

-- The header of a body that can be read, once for all that have the same options.
local headers = {}
local function header_of(body)
  local options = split(body)
  if not options then return nil end
  if headers[options] == nil then headers[options] = read_header(body) or false end
  return headers[options]
end

-- Whether the end of a task concerns nobody but who wants its result.
local function ends_alone(h) return h and not (h.key or h.unique or h.batch) end

-- Completes those of a queue that hand on nothing and whose end concerns nobody else: by a few commands for all of them. `place` has for each id the run and the number of
-- its settlement.
local function complete_many(q, ids, place)
  local leases, states, bodies = redis.call('ZMSCORE', q.lease, unpack(ids)), redis.call('HMGET', q.state, unpack(ids)), redis.call('HMGET', q.body, unpack(ids))
  local gone, dropped, results, untils, remembered, remember_ids = {}, {}, {}, {}, {}, about(q).remember_ids
  for at, id in ipairs(ids) do
    local run, p = place[id].run, states[at] and parse_state(states[at])
    local h = leases[at] and bodies[at] and p and p.epoch == tonumber(run.epoch) and p.holder == run.holder and header_of(bodies[at])
    if ends_alone(h) then
      answers[place[id].number] = 1
      gone[#gone + 1] = id
      tell(q, h, id, 'D', run.text)
      if h.result == 0 then
        dropped[#dropped + 1] = id
      elseif h.result then
        local last = #results
        results[last + 1], results[last + 2] = id, '\1D' .. run.text
        -- As a text, as in `claim_plain.lua`.
        h.till = h.till or string.format('%.0f', now + h.result)
        untils[last + 1], untils[last + 2] = h.till, id
      end
      if h.given and remember_ids > 0 then
        remembered[#remembered + 1] = string.format('%.0f', now + remember_ids)
        remembered[#remembered + 1] = id
      end
    end
  end
  if #gone == 0 then return end
  -- The leases first: see `end_lease`.
  redis.call('ZREM', q.lease, unpack(gone))
  redis.call('HDEL', q.body, unpack(gone))
  redis.call('HDEL', q.state, unpack(gone))
  if #dropped > 0 then
    redis.call('HDEL', q.results, unpack(dropped))
    redis.call('ZREM', q.untils, unpack(dropped))
  end
  if #results > 0 then
    hset(q.results, 0, results)
    zadd(q.untils, 0, untils)
    kept(q, forget_results)
  end
  if #remembered > 0 then
    zadd(q.remembered, 0, remembered)
    kept(q, forget_ids)
  end
  answered = answered + #gone
  q.got_settled = true
end

-- Completes all that are such, and were not completed the short way.
local function complete_all_alone()
  local groups = {}
  for _, run in ipairs(runs) do
    if run.how == 'complete' and run.children == 0 then
      local group = groups[run.q] or { ids = {}, place = {} }
      groups[run.q] = group
      for at, id in ipairs(run.ids) do
        if not answers[run.before + at] and run.q.times[id] == 1 then
          group.ids[#group.ids + 1] = id
          group.place[id] = { run = run, number = run.before + at }
        end
      end
    end
  end
  for q, group in pairs(groups) do
    if #group.ids > 0 then complete_many(q, group.ids, group.place) end
  end
end

-- As above.
if children == 0 then
  complete_all_alone()
  if answered == total then
    forget_kept()
    end_step(ARGV[1])
    return answers
  end
end
