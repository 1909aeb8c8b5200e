-- What the scripts are asked that look through tasks.
local q, repair, look, since = queue(0), ARGV[2] == '1', ARGV[3] == '1', tonumber(ARGV[4])
local wrong, unsettled_of, asked = {}, {}, 0

-- The latest that a lease may end, and how long one lasts that ends later.
local MAX_LEASE, LEASE = 86400000, 30000
