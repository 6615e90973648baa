--@include slots
-- take: the rate limiter on its own, without a cache.
--
-- KEYS  1 slots   2 state   (see slots.lua)
-- ARGV  1 limits   2 share   3 "take" | "look"   4 slot id   5 cost in slots
--       6 held for (us; 0: stamped now)   7 deadline (us; 0: none)
--       8 epoch the asker has seen, "" for none
--       9 patience (us): a slot that comes free within it is promised at once
-- Replies {allowed, now, count, span, used, retry_at, reason, epoch, start}: the figures
-- are the tightest limit's, after the take; retry_at (us) is when the oldest slot in its
-- window leaves (now, if it is empty), or when the ask can be granted. A slot that was
-- taken must not be used before start.
local slots, state = KEYS[1], KEYS[2]
local id, cost, deadline = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[7])

local now = server_time()
local seen = epoch(state, ARGV[8], now, id)
local limits = parse_limits(ARGV[1])
local retry_at, reason, tightest, certain = look(slots, state, limits, now, cost, tonumber(ARGV[2]))
local start = math.max(now, retry_at)
local is_late = deadline > 0 and now > deadline
local allowed = not is_late and (retry_at == 0 or (certain and start - now <= tonumber(ARGV[9])))
if allowed and ARGV[3] == 'take' then
    hold(slots, state, limits, now, id, cost, tonumber(ARGV[6]), start)
    local _
    _, _, tightest = look(slots, state, limits, start, 0, 1)
end
if is_late then
    retry_at, reason = now, 'late'
elseif allowed then
    local first = redis.call('ZRANGEBYSCORE', slots, '(' .. int(start - tightest[2]), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    retry_at = first[2] and math.min(tonumber(first[2]), now) + tightest[2] or now
end
return {allowed and 1 or 0, int(now), tightest[1], int(tightest[2]), tightest[3], int(retry_at), reason, seen, int(start)}
