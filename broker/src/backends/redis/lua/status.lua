-- How a queue stands; `declare` is this too. Returns capacity, remember_ids, order (0 fifo, 1 lifo, 2 priority), revision, configured, closed,
-- paused, key_limit (0 for none), key_interval, ready, scheduled, held, leased, dead, the last sequence, when it was paused in ms (-1 where that is not known), by whom;
-- nothing for a missing one.
local q = queue(0)
if not about(q).there then return {} end
local waiting = (by_priority(q) and redis.call('ZCARD', q.ready) or redis.call('LLEN', q.ready) - q.about.ghosts) + redis.call('ZCARD', q.returned) + redis.call('ZCARD', q.alone)
local orders = { fifo = 0, lifo = 1, priority = 2 }
local more = redis.call('HMGET', q.info, 'revision', 'configured', 'paused_at', 'paused_by')
return { q.about.capacity, q.about.remember_ids, orders[q.about.order], more[1], more[2], q.about.closed and 1 or 0, q.about.paused and 1 or 0,
  q.about.key_limit or 0, q.about.key_interval, waiting, redis.call('ZCARD', q.due), redis.call('ZCARD', q.held), redis.call('ZCARD', q.lease),
  redis.call('ZCARD', q.dead), q.about.added, tonumber(more[3] or nil) or -1, more[4] or '' }
