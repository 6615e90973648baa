--@include window
--@include late
-- take: takes a slot for the rate limiter on its own, without a cache, or looks whether there is one.
--
-- KEYS  window       (see state.lua)
-- ARGV  limits
--       is_take      0: the script only looks, and takes nothing
--       id           of the slot
--       cost         in slots
--       held_us      for how long the slot is held; 0: it is stamped with the present time
--       asked_us, deadline_us   between these the asker expects to be heard (see late.lua); 0: at any time
--       seen_before  what it was replied of the epoch before, "" for none (see check_in)
--       patience_us  a slot that comes free within this time is promised at once
--       process
--       beside       which limits hold beside these (see open_window)
-- Replies
--       taken: now, is_allowed, limit, span, used, others, retry_at, code, reason, seen, start, present_us
--                    the figures are those of the tightest limit after the take, others is what of used is left to others
--                    with the same key; retry_at (us) is when the oldest
--                    slot leaves its window (now, if there is none), or when the ask can be granted;
--                    seen: what check_in replies, "" for a look. A slot that was taken must not be used before start
--                    present_us: for how long nobody will be absent (see present_for)
--       late: now    it is late, and nothing was done
local window = {slots = slots, state = state, fleet = fleet, process = is_take and process or nil}

local now = server_time()
if is_late(now, asked_us, deadline_us) then
    return reply_late(now)
end
-- An ask that only looks writes nothing.
local asked = parse_limits(limits)
local seen = is_take and check_in(window, now, seen_before, id) or ''
open_window(window, limits, asked, beside)
-- The asker wants the figures, so the slots are counted even where there is plenty of room (see has_plenty).
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
return reply_taken(now, is_allowed, after.count, after.span, after.used, after.others, retry_at, status.code, status.text, seen, start,
    present_for(window, now))
