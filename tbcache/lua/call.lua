--@include notice
-- call: slots are free, and others are to give them back.
--
-- Included where it is needed, by those who take.

-- Asks all for their allowances, once.
local function call_for_allowances(window, now)
    if tonumber(redis.call('HGET', window.state, 'wanted_until') or 0) <= now then
        redis.call('HSET', window.state, 'wanted_until', int(now + ABSENT_US))
        tell(window.state, '')
    end
end
