--@include budget
-- purse: gives a process a part of the day's budget, which it may spend while it cannot reach Redis: its share of what
-- is left. All purses together never exceed what is left, and look_at_budget keeps those of absent processes for them.
--
-- KEYS  window, usage, purses   (see state.lua, admit.lua)
-- ARGV  process   (money in millionths of a dollar)
--       budget      of the day
--       slot_price  the most that a page costs for each of its slots
--       going_by    the purse that the process goes by until it has read this reply
-- Replies the purse.
local window = {slots = slots, state = state, fleet = fleet, process = process}

local now = server_time()
local share = bounded(redis.call('HGET', window.state, 'share:' .. process), 0, 1, 0)
local left = budget - (spent_of(usage) or budget) - flying_of(window.slots, now) * slot_price
local _, others = purses_of(window, purses, now, budget)
local purse = math.floor(math.max(0, math.min(share * left, left - others)))
-- The process goes by its old purse until it has read this reply, so the larger of the two is reserved.
if math.max(purse, going_by) > 0 then
    -- A purse that cannot be stored is not given.
    local stored = redis.pcall('HSET', purses, process, int(math.max(purse, going_by)))
    purse = type(stored) == 'number' and purse or 0
else
    redis.pcall('HDEL', purses, process)
end
redis.call('EXPIRE', purses, 2 * 86400)
return purse
