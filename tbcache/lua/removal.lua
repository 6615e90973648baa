-- removal: what was cleared or deleted while a process loaded without Redis, which then was not heard by it.
--
-- Included; its functions take the keys
--   clears      STRING, the source's log of clears (see clear.lua)
--   everything  the log that has every clear
--   deleted     STRING that lives for REMEMBERED_US after the last deletion of a key of the source
local function sequence_of(log)
    local text = redis.pcall('GETRANGE', log, 0, 15)
    -- An error means a key of another type, so that it is no log.
    return type(text) == 'string' and #text == 16 and string.match(text, '^[1-8]%d+$') or UNCLEARED
end

-- Whether something can have been removed since a load began at that moment.
local function was_removed(now, began_us, clears, everything, deleted)
    -- A deletion leaves no more than its mark. Its life is told in whole milliseconds. One that has no end is damaged.
    local left_ms = redis.call('PTTL', deleted)
    local deleted_at = now - REMEMBERED_US + 1000 * (math.max(left_ms, 0) + 2)
    local changed_at = math.max(deleted_at, tonumber(sequence_of(clears)), tonumber(sequence_of(everything)))
    return left_ms == -1 or began_us <= changed_at
end

-- Outside of the two moments the asker is late, or its clock or the server's was set: no moment of its is true then.
local function is_in_time(now, asked_us, deadline_us)
    return now >= asked_us and now <= deadline_us
end
