--@include envelope
--@include dropped
-- sweep: removes the entries and leases that are older than a clear, and none that are newer.
-- KEYS  pending    of the queue that has their hash tag for its name   (see queue.lua)
--       names      entries or leases of one cluster slot   (see admit.lua)
-- ARGV  kind       "cache" | "lease"
--       sequences  for each key, the sequence of the clear   (see clear.lua)
-- Replies how many were removed.
local swept = 0
for position, key in ipairs(names) do
    -- An error means a key of another type, which is removed as well.
    local birth
    if kind == 'cache' then
        local head = redis.pcall('GETRANGE', key, 0, STAMPS_BYTES - 1)
        birth = type(head) == 'string' and birth_of(head)
    else
        birth = redis.pcall('HGET', key, 'since')
    end
    if (tonumber(birth) or 0) < tonumber(sequences[position]) then
        swept = swept + redis.call('UNLINK', key)
        local tag, rest = string.match(key, ':lease:{(.-)}(.*)$')
        if tag then
            -- The sequence of a clear is its time.
            tell_dropped(pending, tag .. rest, tonumber(sequences[position]))
        end
    end
end
return swept
