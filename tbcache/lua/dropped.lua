-- dropped: tells the queue of a source that a load of a fetch that is under way, if there is one, will not be stored.
-- A job that runs is one that began at 0 from then on: it serves nobody who asks later (see enqueue.lua).
--
-- Included; its key is the script's: pending of that queue (see queue.lua).
local function tell_dropped(pending, key)
    -- A damaged part of the queue keeps nothing from being removed.
    if redis.pcall('HEXISTS', pending, '@' .. key) == 1 then
        redis.pcall('HSET', pending, '@' .. key, '0')
    end
end
