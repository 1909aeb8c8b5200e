-- Opens a namespace: checks the format, takes one of the format before over, and raises the generation for a server that was started anew or
-- took over. ARGV: server (run id), the format that the client knows. Returns the generation, or minus the format it would have to know.
local server, known = ARGV[1], tonumber(ARGV[2])
local function field(name) return tonumber(redis.call('HGET', KEYS[1], name) or 0) end

local oldest = math.max(field('oldest_reader'), field('oldest_writer'))
if oldest > known then return -oldest end
-- What format 2 has besides is nothing where it is missing. Whoever only knows format 1 is refused from now on; and who has a session open
-- finds the generation no more, which is called another name, and so opens it again, and is refused.
local generation = math.max(field('fence'), field('generation'))
local moved = generation == 0 or redis.call('HGET', KEYS[1], 'server') ~= server
if moved or field('format') < 2 then
  -- A write that needs no memory, and after it a server that has none left takes the others too: workers must get in to empty it.
  redis.call('HDEL', KEYS[1], 'generation')
end
if field('format') < 2 then
  redis.call('HSET', KEYS[1], 'format', 2, 'oldest_reader', 2, 'oldest_writer', 2, 'fence', string.format('%.0f', generation))
end
if moved then
  -- Claims may have been lost with the server before this one: the same epoch must never be given twice.
  generation = math.max(generation + 1, math.floor(now / 1000))
  redis.call('HSET', KEYS[1], 'server', server, 'fence', string.format('%.0f', generation))
end
return generation
