--@include slots
-- turn: between two pages of one answer. Commits the slot of the page that came and
-- takes one for the next, in one round trip.
--
-- KEYS  1 slots   2 state   3 lease   (see admit.lua)
-- ARGV  1 limits   2 share   3 lease (us)   4 slot id of the page that came
--       5 slot id of the next page   6 cost in slots   7 deadline (us; 0: none)
--       8 the lease's token
-- Replies {"go", now}: the next slot is held and the lease prolonged;
--         {"wait", now, retry_at, reason}: no slot; {"late", now}: see admit.lua.
local slots, state, lease_key = KEYS[1], KEYS[2], KEYS[3]
local lease, cost, deadline = tonumber(ARGV[3]), tonumber(ARGV[6]), tonumber(ARGV[7])

local now = server_time()
if deadline > 0 and now > deadline then
    return {'late', int(now)}
end
commit(slots, now, ARGV[4], cost)
local limits = parse_limits(ARGV[1])
local retry_at, reason = look(slots, state, limits, now, cost, tonumber(ARGV[2]))
if retry_at > 0 then
    return {'wait', int(now), int(retry_at), reason}
end
hold(slots, state, limits, now, ARGV[5], cost, lease, now)
if redis.call('HGET', lease_key, 'token') == ARGV[8] then
    redis.call('HSET', lease_key, 'until', int(now + lease))
end
return {'go', int(now)}
