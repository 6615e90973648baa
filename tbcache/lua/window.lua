--@include state
--@include slot
--@include member
--@include lane
--@include epoch
--@include stop
-- window: the sliding window of held slots, for all scripts that take slots or look. state.lua describes its keys.
--
-- A window is a table {slots, state, fleet: the keys; process: who takes, nil for a look; is_behind: the process has
-- not put its slots back yet (see check_in); is_for_new: the slot is for work that was not accepted before; limits:
-- those in force; and what the state says of it}.
--
-- Why there is no slot is told by a code and a text for people. The codes are "limit": the limit is used up; "closed":
-- the upstream said stop, and the text is its own; GIVING_BACK: other processes are about to give slots back; "budget":
-- the day's budget is spent; "paused" and "drained": an operator said so (see stop.lua).

local GIVING_BACK_POLL_US = 5000

-- Reads the fields of the state that every ask needs, in one command. Two fields of each of the asker's limits tell
-- whether anything is known of others that use the same key. All other fields are read where they are needed.
local STORED_AHEAD = 8
local function read_state(window, asked)
    local fields = {'epoch', 'limits', 'closed_until', 'lost_at', 'horizon', 'demand', 'demand_at', 'order'}
    for _, limit in ipairs(asked) do
        fields[#fields + 1], fields[#fields + 2] = 'foreign:' .. limit[3], 'learned:' .. limit[3]
    end
    window.stored = redis.call('HMGET', window.state, unpack(fields))
end

-- Opens the window for an asker with these limits. The limits of the fleet hold as well; with `beside` "bound", as a call
-- names its own window, only those that an operator has set; with "nothing", as one looks at these alone, none.
local function open_window(window, limits, asked, beside)
    if not window.stored then
        read_state(window, asked)
    end
    local stored = window.stored
    local others = stored[2]
    if beside == 'bound' then
        others = bound_of(window.state)
    elseif beside == 'nothing' then
        others = nil
    end
    -- Mostly the limits of the fleet are written as the asker's are, and need not be compared.
    window.limits = others and others ~= limits and in_force(asked, others) or asked
    window.closed_until, window.lost_at = moment(stored[3]), moment_of_loss(stored[4])
    window.horizon = bounded(stored[5], 0, LONGEST_WINDOW_US, 0)
    window.demand, window.demand_at, window.order = stored[6], stored[7], stored[8]
    -- True where no field says that others use the limits.
    window.is_unshared = window.limits == asked
    for at = STORED_AHEAD + 1, STORED_AHEAD + 2 * #asked do
        window.is_unshared = window.is_unshared and not stored[at]
    end
    return window
end

-- Records that the process was heard of (see check_in), and opens the window.
local function enter(window, now, limits, seen_before, name, joins, last_seen)
    local asked = parse_limits(limits)
    read_state(window, asked)
    local seen = check_in(window, now, seen_before, name, joins, last_seen)
    open_window(window, limits, asked)
    return seen
end

-- True where each limit has room for `cost` beside all stamps that exist. Then none has to be counted, as no window
-- holds more than all of them. False means only that they have to be counted.
local function has_plenty(window, now, cost)
    if not (window.stamps and window.is_unshared) then
        return false
    end
    if window.closed_until > now or window.lost_at > 0 or window.is_behind or window.order then
        return false
    end
    for _, limit in ipairs(window.limits) do
        local absent, allowances = reserved_of(window, limit, now, cost)
        if window.stamps + absent + allowances + cost > limit[1] then
            return false
        end
    end
    return true
end

-- The moment at which `over` slots have left the window, and whether that is certain. A slot that is still held leaves
-- one span after its commit, which is one span from now at the earliest.
local function freed_at(window, span, now, over)
    local gone = redis.call('ZCOUNT', window.slots, '-inf', int(now - span))
    local oldest = redis.call('ZRANGE', window.slots, gone + over - 1, gone + over - 1, 'WITHSCORES')
    local stamp = tonumber(oldest[2])
    return math.min(stamp, now) + span, stamp <= now
end

-- Looks at one limit. Replies {free_at: when there is room for `cost`, 0 for now; code, text: why not now; used: how
-- many slots are used; others: how many of these are left to others with the same key; is_certain: a slot that starts at free_at can be promised; paced_at: when the pre-warm lane may
-- take the next after this one}.
local function look_at_limit(window, limit, now, cost, fraction)
    local count, span = limit[1], limit[2]
    local ours = redis.call('ZCOUNT', window.slots, '(' .. int(now - span), '+inf')
    local others, others_until = 0, now + span
    if not window.is_unshared then
--@include headroom
        others, others_until = others_use(window.slots, window.state, count, span, now, ours)
    end
    local reserved, allowances = reserved_of(window, limit, now, cost)
    local found = {free_at = 0, code = 'limit', used = ours + others + reserved, is_certain = true}
    local over = found.used + cost - count
    if over > ours then
        found.free_at, found.is_certain = others > 0 and others_until or now + span, false
    elseif over > 0 then
        found.free_at, found.is_certain = freed_at(window, span, now, over)
        if others > 0 then
            found.free_at, found.is_certain = math.min(found.free_at, others_until), false
        end
    elseif fraction < 1 then
--@include borrow
        local demand = demand_of(window.demand, window.demand_at, now, shortest(window.limits))
        found.free_at = borrow(window.slots, limit, now, -over, cost, fraction, demand)
        -- Slots that are taken in a burst come free in a burst, and an interactive ask in between finds none. So once
        -- half of the limit is used, the lane takes its slots evenly, at the rate that the limit allows.
        if 2 * found.used > count then
            local paced_at = moment(redis.call('HGET', window.state, 'paced:' .. int(span)), now + PACES_AHEAD * span + span)
            found.free_at = math.max(found.free_at, paced_at - PACES_AHEAD * span / count)
            found.paced_at = math.max(paced_at, now) + cost * span / count
        end
    end
    found.text = found.free_at > 0 and 'limit ' .. count or ''
    if reserved > 0 and found.free_at > now + LOST_POLL_US then
        -- Absent processes may come back or be forgotten at any moment, so the asker looks again soon.
        found.free_at, found.is_certain = now + LOST_POLL_US, false
        found.text = found.text .. ', ' .. reserved .. ' of it kept for processes that are absent'
    end
    if allowances > 0 and over + allowances > 0 then
        -- The others give these slots back within a few milliseconds. Until then nothing can be promised.
        found.free_at, found.is_certain, found.code = now + GIVING_BACK_POLL_US, false, GIVING_BACK
        found.text = 'others are giving back what was kept for them'
    end
    local known_at = 0
    if window.lost_at > 0 then
        local stored = redis.call('HMGET', window.state, 'whole_at', 'lease')
        known_at = whole_from(window.lost_at, stored[1], span, bounded(stored[2], 0, HOUR_US, 0))
    end
    known_at = window.is_behind and math.max(known_at, now + LOST_POLL_US) or known_at
    if now < known_at then
        -- Every process may have put its own slots back at any moment, so the asker looks again soon.
        found.free_at = math.max(found.free_at, math.min(known_at, now + LOST_POLL_US))
        found.used, found.is_certain = count, false
        found.text = 'limit ' .. count .. ', shut until what Redis has lost is known again'
    end
    -- What is kept, and what others use, is told of as far as there is room for it.
    found.used = math.max(ours, math.min(found.used, count))
    found.others = math.min(others, found.used - ours)
    return found
end

-- Looks whether there is room for `cost` more slots. `fraction` is below 1 for the pre-warm lane, which may fill this
-- part of each limit whatever the interactive asks do. Replies {retry_at: when to ask again, 0 where there is room now;
-- code, text: why not; count, span, used, others: of the tightest limit, where slots were counted; is_certain: a slot that
-- starts at retry_at can be promised; paced: for the pre-warm lane, span -> when it may take the next slot after this
-- one}.
local function look(window, now, cost, fraction)
    -- An absent process may take what leaves of its slots again without asking, so nothing is promised meanwhile.
    local status = {retry_at = 0, code = '', text = '', paced = fraction < 1 and {} or nil,
        is_certain = fraction == 1 and #members_of(window, now).absent == 0}
    -- The pre-warm lane also needs to know how many slots leave when, so for it they are counted.
    if fraction == 1 and has_plenty(window, now, cost) then
        return status
    end
    if window.closed_until > now then
        local reason = redis.call('HGET', window.state, 'closed_reason')
        status.retry_at, status.code, status.text = window.closed_until, 'closed', reason or 'closed'
        status.is_certain = false
    end
    for _, limit in ipairs(window.limits) do
        local found = look_at_limit(window, limit, now, cost, fraction)
        status.is_certain = status.is_certain and found.is_certain
        if found.paced_at then
            status.paced[limit[2]] = found.paced_at
        end
        if found.free_at > now and found.free_at > status.retry_at then
            status.retry_at, status.code, status.text = found.free_at, found.code, found.text
        end
        if not status.count or limit[1] - found.used < status.count - status.used then
            status.count, status.span, status.used, status.others = limit[1], limit[2], found.used, found.others
        end
    end
    local stop, words = stopped_by(window.order, window.is_for_new)
    if stop then
        -- Nobody knows until when this holds, so the asker looks again soon.
        status.retry_at, status.code, status.text = now + STOP_POLL_US, stop, words
        status.is_certain = false
    end
    return status
end

-- Records what was taken, for the asks to come: the pace of the pre-warm lane, or the demand of the interactive one.
local function record_lane(window, now, slots, status)
    if status.paced then
        for span, paced_at in pairs(status.paced) do
            redis.call('HSET', window.state, 'paced:' .. int(span), int(paced_at))
        end
        return
    end
    local memory = shortest(window.limits)
    window.demand = demand_of(window.demand, window.demand_at, now, memory) + slots / memory
    window.demand_at = now
    redis.call('HSET', window.state, 'demand', string.format('%.9g', window.demand), 'demand_at', int(now))
end

-- True where an interactive slot was taken in the present period of so many us. Then the first ask of the period has
-- done what has to be done once in each.
local function is_lately(window, now, period)
    return math.floor(moment(window.demand_at) / period) == math.floor(now / period)
end

-- For each of `ids`, holds `cost` slots named id, id#2, ... from `start` until start + held. `start` is now, or a
-- moment that look has promised. A slot that was promised for later keeps to the limit as well, because every other
-- stamp that is younger than start - window was counted as it was taken. `status` is what look has replied, or nil
-- where the ask was counted in its lane before.
local function hold_all(window, now, ids, cost, held, start, status)
    local span = longest(window.limits)
    if span > window.horizon then
        window.horizon = span
        redis.call('HSET', window.state, 'horizon', span)
    end
    -- Old stamps are removed now and then, by the first ask in each sixteenth of the window. Nothing depends on it.
    if not is_lately(window, now, window.horizon / 16) then
        redis.call('ZREMRANGEBYSCORE', window.slots, '-inf', now - window.horizon)
    end
    if not is_lately(window, now, HOUR_US) then
        redis.call('PEXPIRE', window.state, STATE_TTL_MS)
    end
    if status then
        record_lane(window, now, #ids * cost, status)
    end
    local stamp = int(start + held)
    for _, id in ipairs(ids) do
        for unit = 1, cost do
            redis.call('ZADD', window.slots, stamp, unit == 1 and id or id .. '#' .. unit)
        end
    end
    -- There are more stamps now than were counted.
    window.stamps = nil
    keep_slots(window.slots, math.ceil((start - now + window.horizon + held) / 1000) + 1000)
    spend(window, #ids * cost)
end

local function hold(window, now, id, cost, held, start, status)
    hold_all(window, now, {id}, cost, held, start, status)
end
