--@include slots
-- take: the rate limiter on its own, without a cache.
--
-- KEYS  1 slots   2 state   3 fleet   (see slots.lua)
-- ARGV  1 limits   2 share   3 "take" | "look"   4 slot id   5 cost in slots
--       6 held for (us; 0: stamped now)   7 deadline (us; 0: none)
--       8 what it was replied of the epoch before, "" for none (see meet)
--       9 patience (us): a slot that comes free within it is promised at once   10 process
--      11 "alone" where these limits hold alone; "" where the fleet's do as well
-- Replies {allowed, now, count, span, used, retry_at, code, reason, epoch and
-- heard (see meet; "" for a look), start}: the
-- figures are the tightest limit's, after the take; retry_at (us) is when the oldest slot
-- in its window leaves (now, if it is empty), or when the ask can be granted. A slot that
-- was taken must not be used before start. {"late", now} past the deadline: nothing was done.
local is_take = ARGV[3] == 'take'
local window = {
    slots = KEYS[1], state = KEYS[2], fleet = KEYS[3], limits = parse_limits(ARGV[1]),
    process = is_take and ARGV[10] or nil, is_alone = ARGV[11] == 'alone',
}
local share, id, cost, deadline = tonumber(ARGV[2]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[7])

local now = server_time()
if deadline > 0 and now > deadline then
    return {'late', int(now)}
end
-- One that only looks writes nothing.
local seen = is_take and meet(window, now, ARGV[8], id) or ''
local retry_at, code, reason, tightest, certain = look(window, now, cost, share)
local start = math.max(now, retry_at)
local allowed = retry_at == 0 or (certain and start - now <= tonumber(ARGV[9]))
if is_take and code == GIVING_BACK then
    call_for_rooms(window, now)
end
if allowed and is_take then
    hold(window, now, id, cost, tonumber(ARGV[6]), start, share)
    local _
    _, _, _, tightest = look(window, start, 0, 1)
end
if allowed then
    local first = redis.call('ZRANGEBYSCORE', window.slots, '(' .. int(start - tightest[2]), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    retry_at = first[2] and math.min(tonumber(first[2]), now) + tightest[2] or now
end
return {allowed and 1 or 0, int(now), tightest[1], int(tightest[2]), tightest[3], int(retry_at), code, reason, seen, int(start)}
