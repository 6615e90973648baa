--@include slots
-- purse: what a process may spend of the day's budget while Redis is away from it: its share of
-- what is left. All purses together are never more than that, and look_at_budget keeps those of
-- silent processes from the others.
--
-- KEYS  1 slots   2 state   3 fleet   4 usage   5 purses   (see slots.lua, admit.lua)
-- ARGV  1 process   2 the day's budget   3 a page's price at most, for each slot of it
--       4 the purse it goes by until it has read this reply; money in millionths of a dollar
-- Replies the purse.
local process, going_by = ARGV[1], tonumber(ARGV[4])
local window = {slots = KEYS[1], state = KEYS[2], fleet = KEYS[3], process = process}

local now = server_time()
local share = tonumber(redis.call('HGET', window.state, 'share:' .. process) or 0)
local left = tonumber(ARGV[2]) - spent_of(KEYS[4]) - flying_of(window.slots, now) * tonumber(ARGV[3])
local _, others = purses_of(window, KEYS[5], now)
local purse = math.floor(math.max(0, math.min(share * left, left - others)))
-- Until it has read this it goes by the old one: the larger of the two is kept.
if math.max(purse, going_by) > 0 then
    -- One that cannot be kept is not given.
    local noted = redis.pcall('HSET', KEYS[5], process, int(math.max(purse, going_by)))
    purse = type(noted) == 'number' and purse or 0
else
    redis.pcall('HDEL', KEYS[5], process)
end
redis.call('EXPIRE', KEYS[5], 2 * 86400)
return purse
