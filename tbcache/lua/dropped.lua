-- dropped: tells the queue of a source that a load of a fetch that has begun before a moment (us), and is under way yet,
-- will not be stored. A job that runs since is one that began at 0: it serves nobody who asks later (see enqueue.lua).
--
-- Included; its key is the script's: pending of that queue (see queue.lua).
local function tell_dropped(pending, key, before)
    -- A damaged part of the queue keeps nothing from being removed.
    local begun = redis.pcall('HGET', pending, '@' .. key)
    if type(begun) == 'string' and (tonumber(begun) or 0) <= before then
        redis.pcall('HSET', pending, '@' .. key, '0')
    end
end
