--@include slots
-- turn: between two pages of one answer. Commits the slot of the page that came and
-- takes one for the next, in one round trip. Whatever lane the answer is of, its pages
-- may fill the limit: an answer that has begun is finished.
--
-- KEYS  1 slots   2 state   3 lease   4 usage   5 billed   6 fleet   7 purses
--       (see admit.lua, settle.lua)
-- ARGV  1 limits   2 lease (us)   3 slot id of the page that came
--       4 slot id of the next page   5 cost in slots   6 deadline (us; 0: none)
--       7 the lease's token   8 worker   9 the day's budget   10 a page's price at most
--      11 billed (millionths of a dollar)   12 process
--      13 what it was replied of the epoch before, "" for none (see meet)
--         then what is billed once a day: id, price (millionths of a dollar), ...
-- Replies {"go", now, seen}: the next slot is held and the lease prolonged; seen: what meet replies;
--         {"wait", now, retry_at, code, reason, seen}: no slot, and why (see slots.lua);
--         {"late", now}: see admit.lua.
local slots, lease_key = KEYS[1], KEYS[3]
local window = {slots = slots, state = KEYS[2], fleet = KEYS[6], process = ARGV[12], limits = parse_limits(ARGV[1])}
local lease, cost, deadline = tonumber(ARGV[2]), tonumber(ARGV[5]), tonumber(ARGV[6])

local now = server_time()
commit(slots, now, ARGV[3], cost)
if deadline > 0 and now > deadline then
    return {'late', int(now)}
end
local seen = meet(window, now, ARGV[13], ARGV[4])
local budget, page = tonumber(ARGV[9]), tonumber(ARGV[10]) / cost
bill(KEYS[4], KEYS[5], now, ARGV[8], budget, tonumber(ARGV[11]), ARGV, 14)
local retry_at, code, reason = look(window, now, cost, 1)
local funds_at, lack = look_at_budget(window, KEYS[4], KEYS[7], now, budget, page, 0)
if funds_at > retry_at then
    retry_at, code, reason = funds_at, BUDGET, lack
end
if retry_at > 0 then
    if code == GIVING_BACK then
        call_for_rooms(window, now)
    end
    return {'wait', int(now), int(retry_at), code, reason, seen}
end
hold(window, now, ARGV[4], cost, lease, now)
if redis.call('HGET', lease_key, 'token') == ARGV[7] then
    redis.call('HSET', lease_key, 'until', int(now + lease))
end
return {'go', int(now), seen}
