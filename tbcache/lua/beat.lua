--@include headroom
--@include member
--@include epoch
--@include fleet
--@include step
--@include stop
--@include late
-- beat: a process says that it is there, and learns the limits in force and its part of them
-- while Redis is away from it: its share, and its allowances, which are what it may take of that at
-- once. The shares never add up to more than 1, nor the allowances to more than what is free.
--
-- KEYS  window       (see state.lua)
-- ARGV  limits       its own
--       process
--       going_by     the share that it goes by until it has read this reply
--       asked_us, deadline_us   between these the asker expects to be heard (see late.lua); 0: at any time
--       forget_us    forget who was absent for longer
--       allowances        it goes by, "count:span=allowance,..."
--       can_fall_back   it can go on without Redis, and does not only do what Redis gives it
--       seen_before  what it was replied of the epoch before, "" for none (see check_in)
--       epoch        the name for a new one
--       hold_us
--       silence_us   it counts as absent when it was not heard for longer than that, and than ABSENT_US
-- Replies
--       allotted: now, share, fair, allowances, limits, processes, seen, closed_until, reason, paused, present_us, absent, is_whole, left_us, bound, hold_us
--                    its share, and what would be fair; its allowances; the limits in force; how many take slots;
--                    what check_in replies; until when the source is closed (us; 0: it is not), and why; by whom it is
--                    paused, and why, in words, "" where it is not; present_us: for how long nobody who can go on without Redis
--                    will be absent, 0 where somebody is, or something is missing in the window; who is absent; is_whole when nothing is missing in the
--                    window; for how long a slot of those who have left may be in a window yet; the limits that an operator
--                    has set, "" for none; within what time (us) of its grant a request of any process arrives
--       late: now    it is late: nothing was done
local window = {slots = slots, state = state, fleet = fleet, process = process}

local now = server_time()
if is_late(now, asked_us, deadline_us) then
    return reply_late(now)
end
local seen = check_in(window, now, seen_before, epoch, true)
local hold = longest_hold(window.state, hold_us)
if silence_us > ABSENT_US then
    put(window.state, 'silence:' .. process, int(silence_us))
else
    redis.call('HDEL', window.state, 'silence:' .. process)
end
local before = redis.call('HMGET', window.state, 'limits:' .. process, 'limits', 'lost_at', 'returned_at')
-- The limits are agreed on anew as well where what stands there is nothing that was agreed on.
local has_changed = before[1] ~= limits or not is_agreed(before[2] or '')
if before[1] ~= limits then
    redis.call('HSET', window.state, 'limits:' .. process, limits)
end
local returned_at = moment(before[4])
if not window.is_set_back then
    -- The clock was not set back, as far as this process knows. So what is noted of the future is damaged: it happened
    -- now at the latest, and a process that was heard so late counts as absent until it is heard.
    if before[3] and not bounded(before[3], 0, now) then
        redis.call('HSET', window.state, 'lost_at', int(now))
    end
    if returned_at > now then
        redis.call('HSET', window.state, 'returned_at', int(now))
    end
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', window.fleet, int(now + forget_us), '+inf')) do
        redis.call('ZADD', window.fleet, int(now - ABSENT_US - 1), other)
    end
end
local forgotten_at = int(now - forget_us)
local long_absent = redis.call('ZRANGEBYSCORE', window.fleet, '-inf', forgotten_at, 'WITHSCORES')
for i = 1, #long_absent, 2 do
    -- A process that the last outage found here may have sent until the end of that outage.
    if tonumber(long_absent[i + 1]) >= returned_at or now >= clear_at(window.state, returned_at, hold) then
        local last = math.max(tonumber(long_absent[i + 1]), returned_at)
        forget(window.state, window.fleet, long_absent[i], clear_at(window.state, last, hold))
        has_changed = true
    end
end
if seen_before == '' then
    local latest = clear_at(window.state, now, hold)
    local newest = redis.call('ZRANGE', window.slots, -1, -1, 'WITHSCORES')
    if newest[2] and tonumber(newest[2]) > latest then
        -- The clock was set back, and maybe nobody is left who could have it mended: what was noted lies in the future.
        put_right(window.state, window.slots, now, 0, latest)
    end
end
if has_changed then
    agree(window.state, window.fleet)
end

local stored = redis.call('HMGET', window.state, 'limits', 'closed_until', 'closed_reason', 'wanted_until',
    'lost_at', 'whole_at', 'left_until', 'order')
window.limits = parse_limits(stored[1] or limits)
local is_whole = not window.is_behind and now >= whole_from(stored[5], stored[6], longest(window.limits), hold)

-- Only processes that can go on without Redis have a share. The others have to wait for Redis anyway.
local members, given, sharing = members_of(window, now), 0, 0
for other, theirs in pairs(members.shares) do
    if other ~= process then
        given, sharing = given + theirs, sharing + 1
    end
end
local fair, share = 0, 0
if can_fall_back then
    fair = 1 / (sharing + 1)
    share = math.max(0, math.min(fair, 1 - given))
    if not is_whole then
        -- Processes of which Redis knows nothing any more may be going on with their shares.
        share = math.min(share, going_by)
    end
    -- Until the process has read this reply it goes by its old share, so the larger of the two is recorded.
    put(window.state, 'share:' .. process, string.format('%.9f', math.max(share, math.min(going_by, 1 - given))))
else
    redis.call('HDEL', window.state, 'share:' .. process)
end

-- The larger of the old and the new allowance is recorded as well.
local reserved, granted = read_allowances(allowances), {}
members.allowances[process] = nil
local is_wanted = moment(stored[4], now + MINUTE_US) > now
local is_paused, pause = stopped_by(stored[8])
for _, limit in ipairs(window.limits) do
    local count, span = limit[1], limit[2]
    local ours = redis.call('ZCOUNT', window.slots, '(' .. int(now - span), '+inf')
    local absent_part, others = reserved_of(window, limit, now, 0)
    local free = count - ours - others_use(window.slots, window.state, count, span, now, ours) - absent_part
    local is_shut = is_wanted or is_paused or window.is_behind or now < whole_from(stored[5], stored[6], span, hold)
    local allowance = is_shut and 0 or math.min(math.floor(share * free + ROUNDING), free - others)
    if allowance > 0 then
        granted[#granted + 1] = limit_name(limit) .. '=' .. int(allowance)
        add_allowance(reserved, int(span), limit_name(limit), allowance)
    end
end
write_allowances(window, reserved)
renew(window.fleet, 86400000)
renew(window.state, STATE_TTL_MS)

local closed_until = moment(stored[2]) > now and moment(stored[2]) or 0
local absent = redis.call('ZRANGEBYSCORE', window.fleet, '-inf', '(' .. int(now - ABSENT_US))
-- So is whoever has not been heard since the clock was set back.
for _, other in ipairs(redis.call('ZRANGEBYSCORE', window.fleet, '(' .. int(now), '+inf')) do
    absent[#absent + 1] = other
end
-- One of which Redis has lost all may be going on alone.
local present_us = is_whole and present_for(window, now) or 0
return reply_allotted(now, string.format('%.9f', share), string.format('%.9f', fair), table.concat(granted, ','),
    stored[1] or limits, members.count, seen, closed_until, stored[3] or '', pause or '', present_us, absent,
    is_whole, math.max(0, moment(stored[7], now + LONGEST_WINDOW_US + HOUR_US) - now), bound_of(window.state) or '', hold)
