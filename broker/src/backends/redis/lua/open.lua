-- Opens a namespace: checks the format, and raises the generation for a server that was started anew or took over.
-- ARGV: server (run id), the format that the client knows. Returns the generation, or minus the format it would have to know.
local server, known = ARGV[1], tonumber(ARGV[2])
local reader = tonumber(redis.call('HGET', KEYS[1], 'oldest_reader') or 0)
local writer = tonumber(redis.call('HGET', KEYS[1], 'oldest_writer') or 0)
local oldest = math.max(reader, writer)
if oldest > known then return -oldest end
if redis.call('HGET', KEYS[1], 'server') ~= server then
  -- Claims may have been lost with the server before this one: the same epoch must never be given twice.
  local generation = tonumber(redis.call('HGET', KEYS[1], 'generation') or 0)
  redis.call('HSET', KEYS[1], 'format', known, 'oldest_reader', 1, 'oldest_writer', 1, 'server', server,
    'generation', math.max(generation + 1, math.floor(now / 1000)))
end
return tonumber(redis.call('HGET', KEYS[1], 'generation'))
