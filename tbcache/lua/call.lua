--@include notice
-- call: asks the other processes for their allowances, where slots are free but kept for them.
--
-- The scripts that take slots include it where they need it.

-- Asks all processes for their allowances of the source, once until `wanted_until`.
local function call_for_allowances(window, now)
    if moment(redis.call('HGET', window.state, 'wanted_until'), now + MINUTE_US) <= now then
        redis.call('HSET', window.state, 'wanted_until', int(now + ABSENT_US))
        tell(window.state, '')
    end
end
