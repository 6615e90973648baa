--@include budget
-- purse: what a process may spend of the day's budget while Redis is away from it: its share of
-- what is left. All purses together are never more than that, and look_at_budget reserves those of
-- absent processes for them.
--
-- KEYS  window, usage, purses   (see state.lua, admit.lua)
-- ARGV  process   (money in millionths of a dollar)
--       budget      the day's
--       slot_price  a page's price at most, for each slot of it
--       going_by    the purse that it goes by until it has read this reply
-- Replies the purse.
local window = {slots = slots, state = state, fleet = fleet, process = process}

local now = server_time()
local share = tonumber(redis.call('HGET', window.state, 'share:' .. process) or 0)
local left = budget - spent_of(usage) - flying_of(window.slots, now) * slot_price
local _, others = purses_of(window, purses, now)
local purse = math.floor(math.max(0, math.min(share * left, left - others)))
-- The process goes by the old purse until it has read this reply: the larger of the two is reserved.
if math.max(purse, going_by) > 0 then
    -- A purse that cannot be stored is not given.
    local stored = redis.pcall('HSET', purses, process, int(math.max(purse, going_by)))
    purse = type(stored) == 'number' and purse or 0
else
    redis.pcall('HDEL', purses, process)
end
redis.call('EXPIRE', purses, 2 * 86400)
return purse
