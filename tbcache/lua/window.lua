--@include state
--@include slot
--@include member
--@include lane
--@include epoch
--@include stop
-- window: the held sliding window, shared by every script that takes or looks; state.lua describes its keys.
--
-- A window is a table {slots, state, fleet: the keys; process: who takes, nil to look only; is_behind: it has yet
-- to put its slots back (see check_in); is_for_new: it is taken from for what was not accepted before; limits: those
-- in force; and what the state says of it}.
--
-- Why a slot cannot be had is a code beside a text for people: "limit" it is used up, "closed"
-- the upstream said stop (the text is the upstream's), GIVING_BACK it is about to be given
-- back by others, "budget" the day's money is spent, "paused" and "drained" an operator said so (see stop.lua).

local GIVING_BACK_POLL_US = 5000

-- What mostly stands in the state, read at once: the rest is read by those who need it. Of each of the asker's limits
-- there are two fields more, which tell whether anything is known of others that use it.
local STORED_AHEAD = 8
local function read_state(window, asked)
    local fields = {'epoch', 'limits', 'closed_until', 'lost_at', 'horizon', 'demand', 'demand_at', 'order'}
    for _, limit in ipairs(asked) do
        fields[#fields + 1], fields[#fields + 2] = 'foreign:' .. limit[3], 'learned:' .. limit[3]
    end
    window.stored = redis.call('HMGET', window.state, unpack(fields))
end

-- Opens the window for an asker with these limits. The fleet's hold as well, unless `ignores_fleet`.
local function open_window(window, limits, asked, ignores_fleet)
    if not window.stored then
        read_state(window, asked)
    end
    local stored = window.stored
    -- The fleet's limits are mostly the asker's.
    window.limits = stored[2] and stored[2] ~= limits and not ignores_fleet and in_force(asked, stored[2]) or asked
    window.closed_until, window.lost_at = moment(stored[3]), tonumber(stored[4] or 0)
    window.horizon, window.demand, window.demand_at = tonumber(stored[5] or 0), stored[6], stored[7]
    window.order = stored[8]
    -- True where no field says that others use the limits.
    window.is_unshared = window.limits == asked
    for at = STORED_AHEAD + 1, STORED_AHEAD + 2 * #asked do
        window.is_unshared = window.is_unshared and not stored[at]
    end
    return window
end

-- The process is heard (see check_in), and the window is opened.
local function enter(window, now, limits, seen_before, name, joins, last_seen)
    local asked = parse_limits(limits)
    read_state(window, asked)
    local seen = check_in(window, now, seen_before, name, joins, last_seen)
    open_window(window, limits, asked)
    return seen
end

-- Whether there is room for `cost` beside all stamps that there are, in each limit: whoever knows that needs to count
-- none of them, as no more of them are in a window than there are. False says nothing.
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

-- The moment at which enough slots have left (`over` more are wanted than there are), and whether that is
-- certain. A slot still held cannot leave before it is committed, so that now + span is the earliest.
local function freed_at(window, span, now, over)
    local gone = redis.call('ZCOUNT', window.slots, '-inf', int(now - span))
    local oldest = redis.call('ZRANGE', window.slots, gone + over - 1, gone + over - 1, 'WITHSCORES')
    local stamp = tonumber(oldest[2])
    return math.min(stamp, now) + span, stamp <= now
end

-- Of one limit: {free_at: when `cost` more could be had, 0 for now; code, text: why not; used: how much of it is;
-- is_certain: a slot that starts then can be promised; paced_at: when the pre-warm lane may go on after it}.
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
        -- Slots taken in a burst come free in a burst, and an interactive ask in between
        -- finds none: beyond half of the limit the lane goes at the limit's pace.
        if 2 * found.used > count then
            local paced_at = tonumber(redis.call('HGET', window.state, 'paced:' .. int(span)) or 0)
            found.free_at = math.max(found.free_at, paced_at - PACES_AHEAD * span / count)
            found.paced_at = math.max(paced_at, now) + cost * span / count
        end
    end
    found.text = found.free_at > 0 and 'limit ' .. count or ''
    if reserved > 0 and found.free_at > now + LOST_POLL_US then
        -- The absent may be back, or be forgotten, at any moment.
        found.free_at, found.is_certain = now + LOST_POLL_US, false
        found.text = found.text .. ', ' .. reserved .. ' of it kept for processes that are absent'
    end
    if allowances > 0 and over + allowances > 0 then
        -- They are given back within a few milliseconds; until then nothing can be promised.
        found.free_at, found.is_certain, found.code = now + GIVING_BACK_POLL_US, false, GIVING_BACK
        found.text = 'others are giving back what was kept for them'
    end
    local known_at = 0
    if window.lost_at > 0 then
        local stored = redis.call('HMGET', window.state, 'whole_at', 'lease')
        known_at = whole_from(window.lost_at, stored[1], span, tonumber(stored[2] or 0))
    end
    known_at = window.is_behind and math.max(known_at, now + LOST_POLL_US) or known_at
    if now < known_at then
        -- Every process may have put its own slots back at any moment, so the asker looks again soon.
        found.free_at = math.max(found.free_at, math.min(known_at, now + LOST_POLL_US))
        found.used, found.is_certain = count, false
        found.text = 'limit ' .. count .. ', shut until what Redis has lost is known again'
    end
    return found
end

-- What stands against `cost` more slots. `fraction` below 1 is the pre-warm lane's: the part of each limit that it
-- may fill whatever the interactive asks do. Replies {retry_at: when to ask again, 0 for now; code, text: why;
-- count, span, used: of the tightest limit, where any were counted; is_certain: a slot that starts at retry_at can be
-- promised; paced: of the pre-warm lane, span -> when it may go on after it}.
local function look(window, now, cost, fraction)
    -- An absent process may take again what leaves of its slots: nothing is promised then.
    local status = {retry_at = 0, code = '', text = '', paced = fraction < 1 and {} or nil,
        is_certain = fraction == 1 and #members_of(window, now).absent == 0}
    -- The pre-warm lane goes by how many leave when as well.
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
            status.count, status.span, status.used = limit[1], limit[2], found.used
        end
    end
    local stop, words = stopped_by(window.order, window.is_for_new)
    if stop then
        -- Nobody knows until when.
        status.retry_at, status.code, status.text = now + STOP_POLL_US, stop, words
        status.is_certain = false
    end
    return status
end

-- Records what was taken for the sake of those who come: by a lane of its own pace, or as demand.
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

-- Whether an interactive slot was taken in the same period of so many us, and whoever took the first of it was here.
local HOUR_US = 3600000000
local function is_lately(window, now, period)
    return math.floor((tonumber(window.demand_at) or 0) / period) == math.floor(now / period)
end

-- Holds, for each of `ids`, `cost` slots named id, id#2, ... from `start` (now, or a moment
-- promised by look) until start + held. A slot promised for later keeps the bound as well: at
-- its taking, every other stamp younger than start - window was counted. `status`: what look said; nil where the
-- ask was counted in its lane before.
local function hold_all(window, now, ids, cost, held, start, status)
    local span = longest(window.limits)
    if span > window.horizon then
        window.horizon = span
        redis.call('HSET', window.state, 'horizon', span)
    end
    -- Upkeep that nothing depends on is done now and then: by the first who comes after a sixteenth of the window.
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
    -- There are more than were known.
    window.stamps = nil
    expire_after(window.slots, math.ceil((start - now + window.horizon + held) / 1000) + 1000)
    spend(window, #ids * cost)
end

local function hold(window, now, id, cost, held, start, status)
    hold_all(window, now, {id}, cost, held, start, status)
end
