-- Opens a namespace: checks the format, takes one of a format before over, and raises the generation for a server that was started anew or
-- took over. ARGV: server (run id), the format that the client knows. Returns the generation, or minus the format it would have to know.
local server, known = ARGV[1], tonumber(ARGV[2])
local function field(name) return tonumber(redis.call('HGET', KEYS[1], name) or 0) end

local oldest = math.max(field('oldest_reader'), field('oldest_writer'))
if oldest > known then return -oldest end
-- What was stored by a format before is read as it is. Whoever only knows such a one is refused from now on; and who has a session open
-- finds the generation no more, which each format calls by another name, and so opens it again, and is refused.
local generation = math.max(field('epochs_from'), field('fence'), field('generation'))
local moved = generation == 0 or redis.call('HGET', KEYS[1], 'server') ~= server
if moved or field('format') < 3 then
  -- A write that needs no memory, and after it a server that has none left takes the others too: workers must get in to empty it.
  redis.call('HDEL', KEYS[1], 'fence', 'generation')
end
if field('format') < 3 then
  redis.call('HSET', KEYS[1], 'format', 3, 'oldest_reader', 3, 'oldest_writer', 3, 'epochs_from', string.format('%.0f', generation))
end
if moved then
  -- Claims may have been lost with the server before this one: the same epoch must never be given twice.
  generation = math.max(generation + 1, math.floor(now / 1000))
  redis.call('HSET', KEYS[1], 'server', server, 'epochs_from', string.format('%.0f', generation))
end
return generation
