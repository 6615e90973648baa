-- sweep: removes what is older than a clear, and nothing that has come since.
-- KEYS  entries or leases of one cluster slot   (see admit.lua)
-- ARGV  1 "cache" | "lease"
--         then for each key the sequence of the clear (see clear.lua)
-- Replies how many went.
local swept = 0
for position, key in ipairs(KEYS) do
    -- An error: a key of another type, which is nobody's.
    local birth
    if ARGV[1] == 'cache' then
        birth = redis.pcall('GETRANGE', key, 26, 41)
    else
        birth = redis.pcall('HGET', key, 'since')
    end
    if (tonumber(birth) or 0) < tonumber(ARGV[position + 1]) then
        swept = swept + redis.call('UNLINK', key)
    end
end
return swept
