--@include number
--@include limit
-- member: the processes that take slots of a source, and what is reserved for each of them.

local MOST_VALUES = 4000

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

-- Adds an allowance to those of a process, span -> {limit: its name, slots}, where it is larger than the one that is
-- there. It counts in the limit of its span, whatever count that has by now: its process may not know yet that another
-- was set.
local function add_allowance(allowances, span, limit, slots)
    if slots > (allowances[span] and allowances[span].slots or 0) then
        allowances[span] = {limit = limit, slots = slots}
    end
end

-- "count:span=slots,..."
local function read_allowances(text)
    local allowances = {}
    for limit, span, slots in string.gmatch(text, '(%d+:(%d+))=(%d+)') do
        add_allowance(allowances, span, limit, bounded(slots, 0, MOST_SLOTS, 0))
    end
    return allowances
end

-- What the shares of all processes leave of the whole. `stored` has three fields of each, and its share is the first.
local function unshared_of(stored)
    local left = 1
    for at = 1, #stored, 3 do
        left = left - bounded(stored[at], 0, 1, 0)
    end
    return math.max(0, left)
end

-- Who takes slots: {count: how many; shares: process -> its part of each limit; absent: the shares of those
-- who may be sending on their own; present_until: before then nobody else is absent, if nobody is now; allowances:
-- process -> span -> allowance}. A share that is damaged counts as what the
-- others leave, as all of them together are never more than 1. Whoever is recorded in the future counts as absent.
local function members_of(window, now)
    if window.members then
        return window.members
    end
    local found, fields = window.fleet_entries or redis.call('ZRANGE', window.fleet, 0, -1, 'WITHSCORES'), {}
    for i = 1, #found, 2 do
        local at = (i - 1) / 2 * 3
        fields[at + 1], fields[at + 2] = 'share:' .. found[i], 'rooms:' .. found[i]
        fields[at + 3] = 'silence:' .. found[i]
    end
    local stored = fields[1] and read_fields(window.state, fields)
    local read, members = {}, {count = #found / 2, shares = {}, absent = {}, allowances = {}}
    -- One of which longer silence was said may say another with its next beat: that holds for ABSENT_US at least.
    members.present_until = now + ABSENT_US
    for i = 1, #found, 2 do
        -- A process without a share does nothing without Redis.
        local at = (i - 1) / 2 * 3
        local share, text = stored[at + 1] and (bounded(stored[at + 1], 0, 1) or unshared_of(stored)), stored[at + 2]
        local silence = stored[at + 3] and bounded(stored[at + 3], 0, HOUR_US)
        local seen_at, is_other = tonumber(found[i + 1]), found[i] ~= window.process
        local absent_from = seen_at + (silence or ABSENT_US)
        members.shares[found[i]] = share or nil
        if share and is_other then
            members.present_until = math.min(members.present_until, absent_from)
        end
        if is_other and (window.is_set_back or seen_at > now or absent_from < now) then
            if share then
                table.insert(members.absent, share)
            end
        elseif text then
            -- In a fleet at rest most processes have the same allowances: each text is read once.
            read[text] = read[text] or read_allowances(text)
            members.allowances[found[i]] = read[text]
        end
    end
    window.members = members
    return members
end

-- For how long (us) nobody else will be absent: 0 where somebody is.
local function present_for(window, now)
    local members = members_of(window, now)
    return members.absent[1] and 0 or int(math.max(0, members.present_until - now))
end

-- What of a limit is reserved for those who are absent, and what for the others' allowances; of the
-- taker's own allowance, what is left of it after `cost`.
local function reserved_of(window, limit, now, cost)
    local members, absent, allowances, span = members_of(window, now), 0, 0, nil
    for _, share in ipairs(members.absent) do
        absent = absent + math.floor(limit[1] * share + ROUNDING)
    end
    for process, allowance in pairs(window.process and members.allowances or {}) do
        span = span or int(limit[2])
        local kept = allowance[span] and allowance[span].slots or 0
        allowances = allowances + math.max(0, kept - (process == window.process and cost or 0))
    end
    return absent, allowances
end

local function write_allowances(window, allowances)
    local parts = {}
    for _, allowance in pairs(allowances) do
        if allowance.slots > 0 then
            parts[#parts + 1] = allowance.limit .. '=' .. int(allowance.slots)
        end
    end
    if parts[1] then
        put(window.state, 'rooms:' .. window.process, table.concat(parts, ','))
    else
        redis.call('HDEL', window.state, 'rooms:' .. window.process)
    end
end

-- Takes slots off the taker's own allowance. If the script has not read the members, no allowance is touched.
local function spend(window, cost)
    local allowances = window.members and window.members.allowances[window.process]
    if allowances then
        local left = {}
        for span, allowance in pairs(allowances) do
            left[span] = {limit = allowance.limit, slots = math.max(0, allowance.slots - cost)}
        end
        window.members.allowances[window.process] = left
        write_allowances(window, left)
    end
end
