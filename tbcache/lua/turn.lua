--@include window
--@include budget
--@include lease
--@include late
-- turn: between two pages of one answer, commits the slot of the page that has come and takes one for the next, in one
-- round trip. Whichever lane the answer belongs to, its pages may fill the limit, so that an answer that was begun is
-- finished. Only where older hours are filled in the background, for which nobody waits, something is left for the
-- others.
--
-- KEYS  window, lease, usage, billed, purses, timeline_lease   (see admit.lua, settle.lua)
-- ARGV  limits
--       hold_us
--       fraction     of each limit that the next page may fill (0..1]
--       id           of the slot of the page that has come
--       next_id      of the slot of the next page
--       cost         in slots
--       asked_us, deadline_us   between these the asker expects to be heard (see late.lua); 0: at any time
--       token        the lease's
--       worker
--       budget       of the day
--       page_price   the most that a page costs
--       amount       the bill (millionths of a dollar)
--       process
--       seen_before  what it was replied of the epoch before, "" for none (see check_in)
--       once         what is billed once a day: id, price (millionths of a dollar), ...
-- Replies
--       turned: now, seen                        the next slot is held, and the lease is prolonged; seen: what
--                                                check_in replies
--       wait: now, retry_at, code, reason, seen, entry   there is no slot; window.lua has the codes; entry is ""
--       late: now                                see admit.lua
local window = {slots = slots, state = state, fleet = fleet, process = process}

local now = server_time()
commit(slots, math.max(now, asked_us), id, cost)
if is_late(now, asked_us, deadline_us) then
    return reply_late(now)
end
local seen = enter(window, now, limits, seen_before, next_id)
bill(usage, billed, now, worker, budget, amount, once)
local status = look(window, now, cost, fraction)
local retry_at, code, reason = status.retry_at, status.code, status.text
local funds_at, lack = look_at_budget(window, usage, purses, now, budget, page_price / cost, 0)
if funds_at > retry_at then
    retry_at, code, reason = funds_at, BUDGET, lack
end
if retry_at > 0 then
    if code == GIVING_BACK then
--@include call
        call_for_allowances(window, now)
    end
    return reply_wait(now, retry_at, code, reason, seen, '')
end
hold(window, now, next_id, cost, hold_us, now, fraction < 1 and status or nil)
for _, key in ipairs({lease, timeline_lease}) do
    if redis.call('HGET', key, 'token') == token then
        renew_lease(key, int(now + hold_us), int(hold_us))
    end
end
return reply_turned(now, seen)
