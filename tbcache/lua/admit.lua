-- admit: one question, one verdict.
--
-- KEYS  window       (see state.lua)
--       entry        STRING  {"f":<fresh until, 16 digits, us>,"b":<birth, 16 digits>,"v":<JSON>}
--       lease        HASH    token, until (us), length (us): who loads the key, until when,
--                            and for how long from when that was written (see lease.lua);
--                            since: the last clear when the load began, its value's birth;
--                            waiters: how many joined;
--                            failure, retry_at (us), failures: what the last load met
--       usage        HASH    of the source's UTC day
--       clears       STRING, the log of clears (see clear.lua)
--       purses       HASH    of the same day: process -> what of the budget it may spend
--                            without Redis (millionths of a dollar; see purse.lua)
--       timeline     STRING  the symbol's timeline, in the form of an entry (see hours_of in envelope.lua)
--       timeline_lease   HASH    of the timeline, like a lease; hours: for how many it is being asked
-- ARGV  limits       "count:span_us,..."
--       fraction     of each limit that the lane may fill (0..1]
--       charge       "fetch" | "request"
--       hold_us
--       needed_us    the freshness still needed; 0 for an ordinary ask
--       deadline_us  of the ask, by the server's time; 0: none
--       worker
--       id           of the slot, also the lease's token
--       cost         in slots
--       is_held      the slot is held already
--       seen_before  what the process was replied of the epoch before, "" for none (see check_in in epoch.lua)
--       patience_us  a slot that comes free within it is promised at once
--       budget       the day's (millionths of a dollar; 0: none)
--       page_price   at most
--       log_head     the log's first 16 bytes, as the asker knows it
--       cleared      the last clear in it that matches the key: its sequence; 0: none
--       process
--       hours        of the symbol's timeline that the answer is made of; 0: it is made of none
--       timeline_cleared   as `cleared`, of the timeline
-- Replies  (moments as us of the server's time)
--       hit: now, entry                             fresh
--       stale: now, entry, failure                  old; someone else refreshes, or must wait
--       derive: now, timeline                       the timeline is fresh, and was asked for as many hours
--       go: now, entry, seen, start, timeline       the slot is held, the lease is yours; send
--                                                   nothing before start; entry and timeline may be ""
--       join: now, token, ends_at                   someone else loads it
--       wait: now, retry_at, code, reason, seen     no slot before retry_at; why: see window.lua;
--                                                   seen: what check_in replies
--       failed: now, failure                        the last load failed; not yet again
--       late: now                                   the deadline has passed; nothing was done
--       cleared: now, log                           the asker does not know the log; nothing was done
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- A frozen server that thaws must not act for askers who have gone.
if deadline_us > 0 and now > deadline_us then
    return reply_late(now)
end

-- A key of another type is nobody's, here and below.
local read = redis.pcall('MGET', clears, entry)
if read.err then
    -- The right to one of them may be missing.
    for at, key in ipairs({clears, entry}) do
        local text = redis.pcall('GET', key)
        read[at] = type(text) == 'string' and text or false
    end
end
--@include envelope
local log, found = read[1] or '', read[2] or false
local is_unknown = string.sub(log, 1, 16) ~= log_head
if found and cleared > 0 and birth_of(found) < cleared then
    found = false
end
local is_fresh = found and fresh_until(found) > now + needed_us
local is_hit = is_fresh and charge == 'fetch'

-- Who looks at the window reads when all were heard (see members_of): that is read here, and its own time is there.
local fleet_entries = not is_unknown and not is_hit and not is_held and redis.call('ZRANGE', fleet, 0, -1, 'WITHSCORES')
local last_seen
if fleet_entries then
    last_seen = false
    for at = 1, #fleet_entries, 2 do
        last_seen = fleet_entries[at] == process and fleet_entries[at + 1] or last_seen
    end
else
    last_seen = redis.call('ZSCORE', fleet, process)
end
-- Whatever is answered below, the process was heard: the asker reckons with that. Where an older record of it
-- than it knows of says that Redis lost data, that stays to be seen (see check_in in epoch.lua).
if last_seen and tonumber(last_seen) >= tonumber(string.match(seen_before, ' (%d+)$') or 0) then
    last_seen = math.max(now, tonumber(last_seen))
    redis.call('ZADD', fleet, last_seen, process)
end
if is_unknown then
    return reply_cleared(now, log)
end

-- Most asks end here: what only the others need comes below.
if is_hit then
    if is_held then
        for unit = 1, cost do
            redis.call('ZREM', slots, unit == 1 and id or id .. '#' .. unit)
        end
    end
    if redis.pcall('HINCRBY', usage, worker .. ':hit', 1) == 1 then
        redis.call('EXPIRE', usage, 2678400)
    end
    return reply_hit(now, found)
end

-- Mostly nobody loads the key, or a timeline, and neither lease is there. An error says that the right to ask is
-- missing.
local is_new
if hours > 0 then
    is_new = redis.pcall('EXISTS', lease, timeline_lease, timeline) == 0
else
    is_new = redis.pcall('EXISTS', lease) == 0
end
-- Any number of hours is answered by one timeline. An error is a key of another type.
local timeline_head = hours > 0 and not is_new and redis.pcall('GETRANGE', timeline, 0, HOURS_BYTES - 1) or ''
timeline_head = type(timeline_head) == 'string' and birth_of(timeline_head) >= timeline_cleared and timeline_head or ''
local function read_timeline()
    local text = timeline_head ~= '' and redis.pcall('GET', timeline) or ''
    return type(text) == 'string' and text or ''
end
local serves = fresh_until(timeline_head) > now + needed_us and hours_of(timeline_head) >= hours and hours > 0

--@include window
--@include usage
--@include lease
local window = {slots = slots, state = state, fleet = fleet, process = process, fleet_entries = fleet_entries or nil,
    is_for_new = not is_held}
local has_slot = is_held and tonumber(redis.call('ZSCORE', slots, id) or 0) > now

-- Every verdict from here on leaves by this. What becomes of the slot that the queue held for this ask follows from it:
--
--   verdict                        charge "fetch"   charge "request": the ask itself is what is charged
--   hit, derive                    given back       committed, by whoever replies so
--   stale, join, wait, failed      given back       stays held
--   go                             stays held       stays held
local function leave(name, reply)
    if name ~= 'go' and has_slot and charge == 'fetch' then
        release(slots, id, cost)
    end
    count(usage, worker, name)
    return reply
end

local seen = enter(window, now, limits, seen_before, id, false, last_seen)
local status = not has_slot and look(window, now, cost, fraction) or nil
local retry_at, code, reason, is_certain = 0, '', '', true
if status then
    retry_at, code, reason, is_certain = status.retry_at, status.code, status.text, status.is_certain
    if code == GIVING_BACK then
--@include call
        call_for_allowances(window, now)
    end
end

if charge == 'request' then
    if retry_at > 0 then
        return leave('wait', reply_wait(now, retry_at, code, reason, seen))
    end
    if is_fresh or serves then
        -- The ask itself is what is charged, and it is over now.
        if has_slot then
            commit(slots, now, id, cost)
        else
            hold(window, now, id, cost, 0, now, status)
        end
        return leave('hit', is_fresh and reply_hit(now, found) or reply_derive(now, read_timeline()))
    end
elseif serves then
    return leave('hit', reply_derive(now, read_timeline()))
end

local load = is_new and {}
    or redis.pcall('HMGET', lease, 'token', 'until', 'failure', 'retry_at', 'since', 'generation', 'length')
if load.err or cleared > 0 and (tonumber(load[5]) or 0) < cleared then
    -- A load from before the clear: nobody joins it, its failure is no news, its value is dropped.
    redis.call('UNLINK', lease)
    load = {}
end
local failure = load[3]
if failure and moment(load[4]) > now then
    if found then
        return leave('stale', reply_stale(now, found, failure))
    end
    return leave('failed', reply_failed(now, failure))
end
-- A job taken back from a worker that died goes on with the lease that one had: the queue
-- names the slots of a job by its id.
local job = has_slot and string.match(id, '^.+/')
local is_heir = job and load[1] and string.sub(load[1], 1, #job) == job
local ends_at = load[1] and lease_until(lease, load[2], load[7], now) or 0
if ends_at > now and load[1] ~= id and not is_heir then
    if found then
        return leave('stale', reply_stale(now, found, failure or ''))
    end
    redis.pcall('HINCRBY', lease, 'waiters', 1)
    return leave('join', reply_join(now, load[1], ends_at))
end
-- Another loads the timeline, for as many hours or more, under the key of another answer.
local other = hours > 0 and not is_new
    and redis.pcall('HMGET', timeline_lease, 'token', 'until', 'hours', 'since', 'length') or {}
if other.err or other[1] and timeline_cleared > 0 and (tonumber(other[4]) or 0) < timeline_cleared then
    redis.call('UNLINK', timeline_lease)
    other = {}
end
local is_other = other[1] and other[1] ~= id and not (job and string.sub(other[1], 1, #job) == job)
local other_ends_at = is_other and lease_until(timeline_lease, other[2], other[5], now) or 0
if other_ends_at > now and (tonumber(other[3]) or 0) >= hours then
    if found then
        return leave('stale', reply_stale(now, found, ''))
    end
    redis.pcall('HINCRBY', timeline_lease, 'waiters', 1)
    return leave('join', reply_join(now, other[1], other_ends_at))
end
if budget > 0 then
--@include budget
    local mine = has_slot and cost or 0
    local funds_at, lack = look_at_budget(window, usage, purses, now, budget, page_price / cost, mine)
    if funds_at > retry_at then
        retry_at, code, reason, is_certain = funds_at, BUDGET, lack, false
    end
end
if retry_at > 0 and found then
    return leave('stale', reply_stale(now, found, failure or ''))
end
if retry_at > 0 and not (is_certain and retry_at - now <= patience_us) then
    return leave('wait', reply_wait(now, retry_at, code, reason, seen))
end

local start = math.max(now, retry_at)
hold(window, now, id, cost, hold_us, start, status)
local since = #log_head == 16 and string.match(log_head, '^[1-8]%d+$') or UNCLEARED
local ends_at, length = int(start + hold_us), int(start + hold_us - now)
renew_lease(lease, ends_at, length, 'token', id, 'waiters', 0, 'since', since)
if load[6] then
    redis.call('HDEL', lease, 'generation')
end
-- Outlives the lease, so that failures in a row are remembered between loads.
local kept_ms = int((start + hold_us - now) / 1000 + 600000)
redis.call('PEXPIRE', lease, kept_ms)
if hours > 0 then
    renew_lease(timeline_lease, ends_at, length, 'token', id, 'waiters', 0, 'since', since, 'hours', hours)
    redis.call('PEXPIRE', timeline_lease, kept_ms)
end
return leave('go', reply_go(now, found or '', seen, start, read_timeline()))
