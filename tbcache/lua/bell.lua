-- bell: has a worker that waits for jobs ask for them. `bell` is a part of each queue (see queue.lua).
--
-- Included; its key is the script's.

-- A key of another type ends the script here.
local bells = redis.call('LLEN', bell)

-- One element is enough: while it is there, nobody waits for it who has nothing to do.
local function notify_worker()
    if bells == 0 then
        bells = redis.call('RPUSH', bell, '1')
        redis.call('EXPIRE', bell, 60)
    end
end
