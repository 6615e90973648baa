--@include window
-- take: the rate limiter on its own, without a cache.
--
-- KEYS  window       (see state.lua)
-- ARGV  limits
--       is_take      else it only looks, and nothing is taken
--       id           of the slot
--       cost         in slots
--       held_us      for how long; 0: stamped now
--       deadline_us  0: none
--       seen_before  what it was replied of the epoch before, "" for none (see check_in)
--       patience_us  a slot that comes free within it is promised at once
--       process
--       ignores_fleet   these limits hold alone, and not the fleet's as well
-- Replies
--       taken: now, is_allowed, limit, span, used, retry_at, code, reason, seen, start
--                    the figures are the tightest limit's, after the take; retry_at (us) is when the oldest
--                    slot in its window leaves (now, if it is empty), or when the ask can be granted;
--                    seen: what check_in replies, "" for a look. A slot that was taken must not be used before start
--       late: now    past the deadline: nothing was done
local window = {slots = slots, state = state, fleet = fleet, process = is_take and process or nil}

local now = server_time()
if deadline_us > 0 and now > deadline_us then
    return reply_late(now)
end
-- An ask that only looks writes nothing.
local asked = parse_limits(limits)
local seen = is_take and check_in(window, now, seen_before, id) or ''
open_window(window, limits, asked, ignores_fleet)
-- The figures are the asker's to know: they are counted.
window.stamps = nil
local status = look(window, now, cost, 1)
local retry_at, start = status.retry_at, math.max(now, status.retry_at)
local is_allowed = retry_at == 0 or (status.is_certain and start - now <= patience_us)
if is_take and status.code == GIVING_BACK then
--@include call
    call_for_allowances(window, now)
end
local after = status
if is_allowed and is_take then
    hold(window, now, id, cost, held_us, start, status)
    after = look(window, start, 0, 1)
end
if is_allowed then
    local first = redis.call('ZRANGEBYSCORE', slots, '(' .. int(start - after.span), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    retry_at = first[2] and math.min(tonumber(first[2]), now) + after.span or now
end
return reply_taken(now, is_allowed, after.count, after.span, after.used, retry_at, status.code, status.text, seen, start)
