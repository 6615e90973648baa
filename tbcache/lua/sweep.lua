--@include envelope
-- sweep: removes what is older than a clear, and nothing that has come since.
-- KEYS  names      entries or leases of one cluster slot   (see admit.lua)
-- ARGV  kind       "cache" | "lease"
--       sequences  of each key, that of its clear   (see clear.lua)
-- Replies how many went.
local swept = 0
for position, key in ipairs(names) do
    -- An error: a key of another type, which is nobody's.
    local birth
    if kind == 'cache' then
        local head = redis.pcall('GETRANGE', key, 0, STAMPS_BYTES - 1)
        birth = type(head) == 'string' and birth_of(head)
    else
        birth = redis.pcall('HGET', key, 'since')
    end
    if (tonumber(birth) or 0) < tonumber(sequences[position]) then
        swept = swept + redis.call('UNLINK', key)
    end
end
return swept
