-- slots: the held sliding window, shared by every script that takes or looks.
--
-- $ns:{source}:slots   ZSET  slot id -> stamp (server time, microseconds).
--                            A held slot is stamped now + lease; its commit lowers
--                            the stamp to the moment the answer was in. Every arrival
--                            upstream is at or before its slot's stamp, so no window
--                            holds more arrivals than stamps.
-- $ns:{source}:state   HASH  closed_until, closed_reason: the upstream said stop; closed_at:
--                            when it did first (us);
--                            strikes: refusals in a row; horizon: the longest window
--                            seen (us); failing: "since (us) count kind,...", the failures
--                            since a fetch last went well; epoch: set once, missing after a loss of data, and
--                            another one after each loss; past: the epoch before;
--                            lost_at: when the last loss was noticed (us); whole_at: from when on
--                            all that it took is known again (us), where that is known;
--                            lease: for how long a request may be under way (us): the longest
--                            that a process has named;
--                            left_until: when the last slot of those who are members no more
--                            leaves the longest window (us);
--                            returned_at: when a process last came back from an outage
--                            and put its slots here (us);
--                            died:<process>: when others of its machine found it dead (us);
--                            limits:<process>: the limits that a process was started with,
--                            "count:span_us,..."; limits: those in force for all of them,
--                            the strictest of each span (see fleet.lua);
--                            share:<process>: the part of each limit that is the
--                            process's own while Redis is away from it; only of a process
--                            that can go on without Redis;
--                            rooms:<process>: "count:span=room,...", how many slots of
--                            each limit it may take at once then: kept from all others;
--                            wanted_until: nobody is given rooms until then (us), as
--                            somebody had need of them;
--                            demand, demand_at: interactive slots taken per us, of
--                            late, and as of when (us);
--                            paced:<span>: when the pre-warm lane may go on (us), once
--                            it fills more than half of a limit;
--                            foreign:<span>, foreign_until:<span>: what the upstream
--                            has seen in a window beyond our slots, and until when;
--                            learned:<span>, learned_next:<span>: the same, learned from
--                            refusals without figures, and when to try a little less; or
--                            what was told first after the end of a foreign_until;
--                            slides:<span>: 1 where the upstream's window was seen to
--                            slide, and what was told last holds on beyond its end
-- $ns:{source}:fleet   ZSET  process -> last heard of (us): every process that takes slots.
--                            One with a share that is silent for longer than ABSENT_US may
--                            be cut off and sending on its own: its share is kept free until
--                            it is back, or forgotten. A process says with each ask what it finds
--                            there when Redis has lost nothing (see meet).
--
-- $ns:notices          channel: "SOURCE UNTIL REASON", the source is closed until then (us),
--                            0: it is open again; "SOURCE", all are to give back their rooms of it.
--
-- A window is a table {slots, state, fleet: the keys; limits: the asker's, which look() makes
-- those in force; process: who takes, nil to look only; is_alone: true where the asker's
-- limits hold alone, and not the fleet's as well; is_behind: set by meet where the process has
-- yet to put its slots back}.
--
-- Why a slot cannot be had is a code beside a text for people: "limit" it is used up, "closed"
-- the upstream said stop (the text is the upstream's), "giving_back" it is about to be given
-- back by others, "budget" the day's money is spent.
-- Stamps are written with string.format('%.0f'): Lua would print 1.7e15.

local LOST_POLL_US = 250000
local ROOM_POLL_US = 5000
local GIVING_BACK, BUDGET = 'giving_back', 'budget'
local ROUNDING = 1e-6  -- of a share; also in store/own.py
local ABSENT_US = 450000  -- ABSENT_SECONDS of store/own.py
local CLOCK_SLACK_US = 2000000  -- an answer's way, and the drift of clocks in FORGET_US
local FORGET_US = 300000000  -- FORGET_SECONDS of store/member.py
local PACES_AHEAD = 2  -- the pre-warm lane makes good what it was late
local EXPECTED = 0.2  -- of a limit: interactive asks that are reckoned with before there are any
local FOREIGN_POLL_US = 100000
local BUDGET_POLL_US = 100000
local KEPT_POLL_US = 5000000
local UNCLEARED = '1000000000000000'  -- the birth of what knows of no clear (see clear.lua)
local MOST_VALUES = 4000
local STATE_TTL_MS = 32 * 86400 * 1000  -- longer than a month's quota stays closed

local function int(number)
    return string.format('%.0f', number)
end

-- A moment as Redis holds it (us). What is damaged, or beyond the calendar, is as good as none.
local function moment(text)
    local found = tonumber(text or 0) or 0
    return found > 0 and found < 2.5e17 and found or 0
end

local function server_time()
    local clock = redis.call('TIME')
    return clock[1] * 1000000 + clock[2]
end

-- "300:900000000,10000:86400000000" -> {{300, 900000000}, ...}
local function parse_limits(text)
    local limits = {}
    for count, span in string.gmatch(text, '(%d+):(%d+)') do
        limits[#limits + 1] = {tonumber(count), tonumber(span)}
    end
    return limits
end

-- The limits that hold: the asker's, and the fleet's. Of one span the smaller count.
local function in_force(limits, fleet)
    local by_span, merged = {}, {}
    for _, some in ipairs({limits, parse_limits(fleet)}) do
        for _, limit in ipairs(some) do
            local known = by_span[limit[2]]
            if known then
                known[1] = math.min(known[1], limit[1])
            else
                merged[#merged + 1] = {limit[1], limit[2]}
                by_span[limit[2]] = merged[#merged]
            end
        end
    end
    return merged
end

-- What others use of a window with the same key, as the upstream's headers told or its
-- refusals taught, and until when that holds. `own` are our slots in it.
local function foreign(slots_key, state_key, limit, span, now, own)
    local name = int(span)
    local told = redis.call('HMGET', state_key,
        'foreign:' .. name, 'foreign_until:' .. name, 'learned:' .. name, 'slides:' .. name)
    local until_ = tonumber(told[2] or 0)
    if until_ > now then
        return tonumber(told[1]), until_
    end
    if told[4] == '1' then
        return tonumber(told[1]), now + span
    end
    if told[3] or not told[1] then
        return tonumber(told[3] or 0), now + span
    end
    -- The first word is past: windows may reset, or slide. One request goes to hear the next.
    local others = tonumber(told[1])
    if redis.call('ZCOUNT', slots_key, '(' .. int(now), '+inf') == 0 then
        others = math.max(0, math.min(others, limit - own - 1))
    end
    return others, now + FOREIGN_POLL_US
end

-- HMGET of as many fields as there are: Lua passes on less than 8,000 values at once.
local function read_fields(key, fields)
    local values = {}
    for first = 1, #fields, MOST_VALUES do
        local last = math.min(#fields, first + MOST_VALUES - 1)
        for _, value in ipairs(redis.call('HMGET', key, unpack(fields, first, last))) do
            values[#values + 1] = value
        end
    end
    return values
end

local function limit_name(limit)
    return int(limit[1]) .. ':' .. int(limit[2])
end

-- "count:span=room,..." -> {count:span -> room}
local function read_rooms(text)
    local rooms = {}
    for name, room in string.gmatch(text, '(%d+:%d+)=(%d+)') do
        rooms[name] = tonumber(room)
    end
    return rooms
end

-- Who takes slots: {count: how many; shares: process -> its part of each limit; silent: the shares of those
-- who may be sending on their own; rooms: process -> limit -> room}.
local function members_of(window, now)
    if window.members then
        return window.members
    end
    local found, fields = redis.call('ZRANGE', window.fleet, 0, -1, 'WITHSCORES'), {}
    for i = 1, #found, 2 do
        fields[i], fields[i + 1] = 'share:' .. found[i], 'rooms:' .. found[i]
    end
    local told = read_fields(window.state, fields)
    local read, members = {}, {count = #found / 2, shares = {}, silent = {}, rooms = {}}
    for i = 1, #found, 2 do
        -- One without a share does nothing without Redis.
        local share = told[i] and tonumber(told[i])
        members.shares[found[i]] = share or nil
        if tonumber(found[i + 1]) < now - ABSENT_US then
            if share then
                table.insert(members.silent, share)
            end
        elseif told[i + 1] then
            -- In a fleet at rest most have the same: each text is read once.
            local text = told[i + 1]
            read[text] = read[text] or read_rooms(text)
            members.rooms[found[i]] = read[text]
        end
    end
    window.members = members
    return members
end

-- What of a limit is kept for those who are silent, and what for the others' rooms; of the
-- taker's own room, what is left of it after `cost`.
local function kept_of(window, limit, now, cost)
    local members, name, silent, rooms = members_of(window, now), limit_name(limit), 0, 0
    for _, share in ipairs(members.silent) do
        silent = silent + math.floor(limit[1] * share + ROUNDING)
    end
    for process, room in pairs(window.process and members.rooms or {}) do
        rooms = rooms + math.max(0, (room[name] or 0) - (process == window.process and cost or 0))
    end
    return silent, rooms
end

local function write_rooms(window, rooms)
    local parts = {}
    for name, room in pairs(rooms) do
        if room > 0 then
            parts[#parts + 1] = name .. '=' .. int(room)
        end
    end
    if parts[1] then
        redis.call('HSET', window.state, 'rooms:' .. window.process, table.concat(parts, ','))
    else
        redis.call('HDEL', window.state, 'rooms:' .. window.process)
    end
end

-- Notes the share ("" for none) and the rooms that the process goes by, or the larger ones that are known.
local function keep_parts(window, share, rooms)
    local state, process = window.state, window.process
    if share ~= '' and tonumber(share) > (tonumber(redis.call('HGET', state, 'share:' .. process) or 0) or 0) then
        redis.call('HSET', state, 'share:' .. process, share)
    end
    local kept = read_rooms(redis.call('HGET', state, 'rooms:' .. process) or '')
    for name, room in pairs(read_rooms(rooms)) do
        kept[name] = math.max(room, kept[name] or 0)
    end
    write_rooms(window, kept)
end

-- What the taker takes is of his own room first. Where nobody looked, it was taken before.
local function spend(window, cost)
    local rooms = window.members and window.members.rooms[window.process]
    if rooms then
        local left = {}
        for name, room in pairs(rooms) do
            left[name] = math.max(0, room - cost)
        end
        window.members.rooms[window.process] = left
        write_rooms(window, left)
    end
end

-- Tells everyone. Who may not publish goes on: the others learn it when they ask.
local function tell(state_key, words)
    local namespace, source = string.match(state_key, '^(.*):{(.*)}:state$')
    redis.pcall('PUBLISH', namespace .. ':notices', source .. words)
end

-- Asks all for their rooms, once.
local function call_for_rooms(window, now)
    if tonumber(redis.call('HGET', window.state, 'wanted_until') or 0) <= now then
        redis.call('HSET', window.state, 'wanted_until', int(now + ABSENT_US))
        tell(window.state, '')
    end
end

-- Interactive slots taken per us, of late: counted with a memory of one shortest window.
local function demand_of(rate, at, now, memory)
    return tonumber(rate or 0) * math.exp(-math.max(0, now - tonumber(at or now)) / memory)
end

-- When the pre-warm lane may take `cost` of a limit that has room (0: now). It borrows of
-- the reserve what the interactive asks do not need: at each of some times ahead, what is
-- free and what will have come free is to last for them, who come at random (two deviations
-- more than their mean).
local function borrow(slots_key, limit, now, free, share, rate)
    local count, span = limit[1], limit[2]
    local reserve = count - math.max(1, math.floor(count * share))
    for _, ahead in ipairs({0, span / 32, span / 8, span / 4, span / 2, 3 * span / 4}) do
        local asked = math.max(rate, EXPECTED * count / span) * ahead
        local needed = math.min(reserve, 1 + math.ceil(asked + 2 * math.sqrt(asked)))
        local leaving = redis.call('ZCOUNT', slots_key, '(' .. int(now - span), int(now - span + ahead))
        if free + leaving < needed then
            local first = redis.call('ZRANGEBYSCORE', slots_key, '(' .. int(now - span), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
            return math.min(tonumber(first[2] or now) + span, now + span / 16)
        end
    end
    return 0
end

-- For how long a request of any process may be under way (us), that of the asker with `lease` included.
local function longest_lease(state_key, lease)
    local known = tonumber(redis.call('HGET', state_key, 'lease') or 0) or 0
    if tonumber(lease) > known then
        redis.call('HSET', state_key, 'lease', lease)
    end
    return math.max(tonumber(lease), known)
end

-- From when on a window is known again after a loss (us): once all have put back what they sent, or else
-- once whatever was sent has arrived and left the window.
local function whole_from(lost_at, whole_at, span, lease)
    lost_at = tonumber(lost_at or 0)
    return lost_at > 0 and (tonumber(whole_at or nil) or lost_at + span + lease) or 0
end

local function shortest(limits)
    local span = limits[1][2]
    for _, limit in ipairs(limits) do
        span = math.min(span, limit[2])
    end
    return span
end

-- What stands against `cost` more slots of the window's process. `share` below 1 is the pre-warm lane's: the part
-- of each limit it may fill whatever the interactive asks do. Replies the moment from
-- which it can be asked again (0: now), the code and the text of the reason, the tightest
-- limit's {count, span, used}, and whether a slot that starts at that moment can be promised now.
local function look(window, now, cost, share)
    local slots_key, state_key = window.slots, window.state
    local state = redis.call('HMGET', state_key,
        'closed_until', 'closed_reason', 'lost_at', 'demand', 'demand_at', 'limits', 'lease', 'whole_at')
    if state[6] and not window.is_alone then
        window.limits = in_force(window.limits, state[6])
    end
    local limits = window.limits
    -- One who is silent may take again what leaves of his: nothing is promised then.
    local retry_at, code, text, certain = 0, '', '', share == 1 and #members_of(window, now).silent == 0
    local closed_until = moment(state[1])
    if closed_until > now then
        retry_at, code, text, certain = closed_until, 'closed', state[2] or 'closed', false
    end
    local demand = share < 1 and demand_of(state[4], state[5], now, shortest(limits)) or 0
    local tightest
    window.paced = {}
    for _, limit in ipairs(limits) do
        local count, span = limit[1], limit[2]
        local own = redis.call('ZCOUNT', slots_key, '(' .. int(now - span), '+inf')
        local others, others_until = foreign(slots_key, state_key, count, span, now, own)
        local kept, rooms = kept_of(window, limit, now, cost)
        local used = own + others + kept
        local free_at, why, because = 0, 'limit', 'limit ' .. count
        local over = used + cost - count
        if over > own then
            free_at, certain = others > 0 and others_until or now + span, false
        elseif over > 0 then
            -- The slot whose leaving makes room. One still held cannot leave before
            -- it is committed, so now + span is the earliest.
            local gone = redis.call('ZCOUNT', slots_key, '-inf', int(now - span))
            local oldest = redis.call('ZRANGE', slots_key, gone + over - 1, gone + over - 1, 'WITHSCORES')
            local stamp = tonumber(oldest[2])
            free_at = math.min(stamp, now) + span
            certain = certain and stamp <= now and others == 0
            if others > 0 then
                free_at = math.min(free_at, others_until)
            end
        elseif share < 1 then
            free_at = borrow(slots_key, limit, now, -over, share, demand)
            -- Slots taken in a burst come free in a burst, and an interactive ask in between
            -- finds none: beyond half of the limit the lane goes at the limit's pace.
            if 2 * used > count then
                local paced_at = tonumber(redis.call('HGET', state_key, 'paced:' .. int(span)) or 0)
                free_at = math.max(free_at, paced_at - PACES_AHEAD * span / count)
                window.paced[limit] = math.max(paced_at, now) + cost * span / count
            end
        end
        if kept > 0 and free_at > now + LOST_POLL_US then
            -- The absent may be back, or be forgotten, at any moment.
            free_at, certain = now + LOST_POLL_US, false
            because = because .. ', ' .. kept .. ' of it kept for processes that are silent'
        end
        if rooms > 0 and over + rooms > 0 then
            -- They are given back within a few milliseconds; until then nothing can be promised.
            free_at, certain, why = now + ROOM_POLL_US, false, GIVING_BACK
            because = 'others are giving back what was kept for them'
        end
        local known_at = whole_from(state[3], state[8], span, tonumber(state[7] or 0))
        known_at = window.is_behind and math.max(known_at, now + LOST_POLL_US) or known_at
        if now < known_at then
            -- Every process may have put its own slots back at any moment, so the asker looks again soon.
            free_at = math.max(free_at, math.min(known_at, now + LOST_POLL_US))
            used, certain = count, false
            because = because .. ', shut until what Redis has lost is known again'
        end
        if free_at > now and free_at > retry_at then
            retry_at, code, text = free_at, why, because
        end
        if not tightest or count - used < tightest[1] - tightest[3] then
            tightest = {count, span, used}
        end
    end
    return retry_at, code, text, tightest, certain
end

-- Holds, for each of `ids`, `cost` slots named id, id#2, ... from `start` (now, or a moment
-- promised by look) until start + lease. A slot promised for later keeps the bound as well: at
-- its taking, every other stamp younger than start - window was counted. No `share`: the ask
-- was counted in its lane before.
local function hold_all(window, now, ids, cost, lease, start, share)
    local state_key, slots_key, limits = window.state, window.slots, window.limits
    local state = redis.call('HMGET', state_key, 'horizon', 'demand', 'demand_at')
    local horizon = tonumber(state[1] or 0)
    for _, limit in ipairs(limits) do
        horizon = math.max(horizon, limit[2])
    end
    redis.call('HSET', state_key, 'horizon', int(horizon))
    if share and share < 1 then
        for limit, paced_at in pairs(window.paced) do
            redis.call('HSET', state_key, 'paced:' .. int(limit[2]), int(paced_at))
        end
    elseif share then
        local memory = shortest(limits)
        local rate = demand_of(state[2], state[3], now, memory) + #ids * cost / memory
        redis.call('HSET', state_key, 'demand', rate, 'demand_at', int(now))
    end
    redis.call('ZREMRANGEBYSCORE', slots_key, '-inf', int(now - horizon))
    for _, id in ipairs(ids) do
        for unit = 1, cost do
            redis.call('ZADD', slots_key, int(start + lease), unit == 1 and id or id .. '#' .. unit)
        end
    end
    redis.call('PEXPIRE', slots_key, int((start - now + horizon + lease) / 1000 + 1000))
    redis.call('PEXPIRE', state_key, STATE_TTL_MS)
    spend(window, #ids * cost)
end

local function hold(window, now, id, cost, lease, start, share)
    hold_all(window, now, {id}, cost, lease, start, share)
end

-- Lowers the stamps of a slot to now; never raises one.
local function commit(slots_key, now, id, cost)
    for unit = 1, cost do
        redis.call('ZADD', slots_key, 'XX', 'LT', int(now), unit == 1 and id or id .. '#' .. unit)
    end
end

local function release(slots_key, id, cost)
    for unit = 1, cost do
        redis.call('ZREM', slots_key, unit == 1 and id or id .. '#' .. unit)
    end
end

-- A loss of data is noticed: the epoch of before is over.
local function lose(state_key, now, past)
    redis.call('HSET', state_key, 'lost_at', int(now), 'past', past)
    redis.call('HDEL', state_key, 'whole_at')
end

-- The process of the window is heard, and notices whether Redis has lost data. `seen` is what it was replied
-- here the last time, "EPOCH HEARD", "" for nothing: the epoch it knows, and when Redis noted that it was
-- heard (us; 0: never). Who knows another epoch than the one in force takes nothing before it has put its own slots
-- back. Where the fleet has no such note of it, Redis went back to an older state: that is a loss as well, and
-- `name` is the new epoch's. Replies "EPOCH HEARD".
local function meet(window, now, seen, name, joins)
    local known, heard = string.match(seen, '^(%S+) ?(%d*)$')
    heard = tonumber(heard or 0) or 0
    local state = redis.call('HMGET', window.state, 'epoch', 'past')
    -- A look of 0.1.0 wrote down an empty one: what is not printable is as good as missing.
    local current = state[1] and string.match(state[1], '^[%w%p]+$')
    local noted = tonumber(redis.call('ZSCORE', window.fleet, window.process) or nil)
    -- One that was silent for so long was forgotten; it is to put back its slots as well.
    local is_forgotten = heard > 0 and not noted and now - heard >= FORGET_US
    if not current then
        current = name
        redis.call('HDEL', window.state, 'lost_at', 'whole_at', 'past')
        redis.call('HSET', window.state, 'epoch', current)
        redis.call('PEXPIRE', window.state, STATE_TTL_MS)
        if known then
            lose(window.state, now, known)
            window.is_behind = true
        end
    elseif known and known ~= current then
        -- The epoch in force may be that of one who knew of no loss, or of long ago.
        if state[2] ~= known then
            lose(window.state, now, known)
        end
        window.is_behind = true
    elseif heard > (noted or 0) and not is_forgotten then
        lose(window.state, now, current)
        current = name
        redis.call('HSET', window.state, 'epoch', current)
        window.is_behind = true
    end
    window.is_behind = window.is_behind or is_forgotten
    if noted or joins then
        redis.call('ZADD', window.fleet, int(now), window.process)
    end
    return current .. ' ' .. ((noted or joins) and not is_forgotten and int(now) or '0')
end

-- Counts in the usage figures: field "worker:metric" of the source's day.
local USAGE_TTL_S = 31 * 86400
local function count(usage_key, worker, metric, by)
    -- A figure that cannot be counted is worth no answer, nor the slot that was taken for it.
    if redis.pcall('HINCRBY', usage_key, worker .. ':' .. metric, by or 1) == (by or 1) then
        redis.call('EXPIRE', usage_key, USAGE_TTL_S)
    end
end

-- Notes how `many` fetches ended: `kind` of failure, '' where they went well. A failure stays noted
-- until one goes well; that there is no such symbol is an answer like any other.
local MOST_KINDS = 200  -- characters
local function note_end(state_key, now, kind, many)
    if kind == '' or kind == 'not_found' then
        redis.call('HDEL', state_key, 'failing')
        return
    end
    local noted = redis.call('HGET', state_key, 'failing') or ''
    local since, before, kinds = string.match(noted, '^(%d+) (%d+) (%S+)$')
    kinds = kinds or kind
    if not string.find(',' .. kinds .. ',', ',' .. kind .. ',', 1, true) and #kinds < MOST_KINDS then
        kinds = kinds .. ',' .. kind
    end
    since, many = since or int(now), int((tonumber(before) or 0) + many)
    redis.call('HSET', state_key, 'failing', since .. ' ' .. many .. ' ' .. kinds)
    redis.call('PEXPIRE', state_key, STATE_TTL_MS)
end

local DAY_US = 86400000000

local function next_midnight(now)
    return (math.floor(now / DAY_US) + 1) * DAY_US
end

-- What the day has cost so far. A bill that cannot be read counts as nothing.
local function spent_of(usage_key)
    return tonumber(redis.pcall('HGET', usage_key, 'spent')) or 0
end

local function flying_of(slots_key, now)
    return redis.call('ZCOUNT', slots_key, '(' .. int(now), '+inf')
end

-- The purses (see purse.lua) of the others: of those that are silent or over, and of all.
local function purses_of(window, purses_key, now)
    local purses, silent, all = redis.pcall('HGETALL', purses_key), 0, 0
    for i = 1, #purses, 2 do
        local process, purse = purses[i], tonumber(purses[i + 1]) or 0
        if process ~= window.process then
            local heard_at = tonumber(redis.call('ZSCORE', window.fleet, process) or 0)
            silent = silent + (heard_at < now - ABSENT_US and purse or 0)
            all = all + purse
        end
    end
    return silent, all
end

-- Keeps when a budget was first found to be spent, in the figures of its day.
local function note_spent(usage_key, now, budget)
    if budget > 0 and spent_of(usage_key) >= budget then
        redis.pcall('HSETNX', usage_key, 'spent_at.' .. int(budget), int(now))
    end
end

-- Whether the day's budget (0: none) has room for a page more, those under way counted
-- at `page` for each slot: so it is overshot by one page at most. What may be spent by those who
-- are silent is kept for them. `mine` are slots of the asker.
-- Replies the moment to ask again (0: now), and why.
local function look_at_budget(window, usage_key, purses_key, now, budget, page, mine)
    if budget == 0 then
        return 0
    end
    local spent = spent_of(usage_key)
    if spent >= budget then
        note_spent(usage_key, now, budget)
        return next_midnight(now), "the day's budget is spent"
    end
    local kept = purses_of(window, purses_key, now)
    if spent + kept >= budget then
        return now + KEPT_POLL_US, "the rest of the day's budget is kept for processes that are silent"
    end
    local flying = flying_of(window.slots, now) - mine
    if flying > 0 and spent + kept + flying * page >= budget then
        return now + BUDGET_POLL_US, "the rest of the day's budget is for the pages under way"
    end
    return 0
end

-- Adds to the day's bill, of which `budget` (0: none) is the most.
local function pay(usage_key, now, worker, budget, amount)
    count(usage_key, worker, 'cost', amount)
    redis.pcall('HINCRBY', usage_key, 'spent', amount)
    note_spent(usage_key, now, budget)
end

-- Adds what an answer costs: `amount`, and of `once`, ids each with a price (millionths of a dollar) behind it,
-- what was not billed before today.
local function bill(usage_key, billed_key, now, worker, budget, amount, once)
    for i = 1, #once, 2 do
        amount = amount + redis.call('SADD', billed_key, once[i]) * tonumber(once[i + 1])
    end
    if once[1] then
        redis.call('EXPIRE', billed_key, 2 * 86400)
    end
    if amount > 0 then
        pay(usage_key, now, worker, budget, amount)
    end
end
