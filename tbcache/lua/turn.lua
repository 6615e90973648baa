--@include slots
-- turn: between two pages of one answer. Commits the slot of the page that came and
-- takes one for the next, in one round trip.
--
-- KEYS  1 slots   2 state   3 lease   4 usage   5 billed   6 fleet   (see admit.lua, settle.lua)
-- ARGV  1 limits   2 share   3 lease (us)   4 slot id of the page that came
--       5 slot id of the next page   6 cost in slots   7 deadline (us; 0: none)
--       8 the lease's token   9 worker   10 the day's budget   11 a page's price at most
--      12 billed (millionths of a dollar)   13 price of an item   14 process
--         then the ids of items billed once a day
-- Replies {"go", now}: the next slot is held and the lease prolonged;
--         {"wait", now, retry_at, reason}: no slot; {"late", now}: see admit.lua.
local slots, state, lease_key = KEYS[1], KEYS[2], KEYS[3]
local window, share = {slots = slots, state = state, fleet = KEYS[6]}, tonumber(ARGV[2])
local lease, cost, deadline = tonumber(ARGV[3]), tonumber(ARGV[6]), tonumber(ARGV[7])

local now = server_time()
commit(slots, now, ARGV[4], cost)
if deadline > 0 and now > deadline then
    return {'late', int(now)}
end
bill(KEYS[4], KEYS[5], ARGV[9], tonumber(ARGV[12]), tonumber(ARGV[13]), {unpack(ARGV, 15)})
hear(window.fleet, ARGV[14], now)
local limits = parse_limits(ARGV[1])
local retry_at, reason = look(window, limits, now, cost, share)
local funds_at = look_at_budget(slots, KEYS[4], now, tonumber(ARGV[10]), tonumber(ARGV[11]) / cost, 0)
if funds_at > retry_at then
    retry_at, reason = funds_at, 'budget'
end
if retry_at > 0 then
    return {'wait', int(now), int(retry_at), reason}
end
hold(window, limits, now, ARGV[5], cost, lease, now, share)
if redis.call('HGET', lease_key, 'token') == ARGV[8] then
    redis.call('HSET', lease_key, 'until', int(now + lease))
end
return {'go', int(now)}
