--@include late
-- admit: answers the one question that begins every request: is there a value, does another load it, is there a slot?
--
-- KEYS  window       (see state.lua)
--       entry        STRING  {"f":<fresh until, 16 digits, us>,"b":<birth, 16 digits>,"v":<JSON>}
--       lease        HASH    token, until (us), length (us): who loads the key, until when,
--                            and for how long from when that was written (see lease.lua);
--                            since: the last clear when the load began, its value's birth;
--                            timeline: until when the timeline was fresh then (us), 0 for none;
--                            waiters: how many wait for the load;
--                            failure, retry_at (us), failures: how the last load failed, until
--                            when that is the answer, and how many loads failed in a row
--       usage        HASH    of the source's UTC day
--       clears       STRING, the log of clears (see clear.lua)
--       purses       HASH    of the same day: process -> the part of the budget that it may
--                            spend without Redis (millionths of a dollar; see purse.lua)
--       timeline     STRING  the symbol's timeline, in the form of an entry (see hours_of in envelope.lua)
--       timeline_lease   HASH    the lease of the timeline; hours: for how many hours it is being asked for
-- ARGV  limits       "count:span_us,..."
--       fraction     of each limit that the lane may fill (0..1]
--       charge       "fetch" | "request"
--       hold_us
--       needed_us    for how long the value must stay fresh; 0 for an ordinary ask
--       ttl_us       for so long a value is fresh at most
--       stand_in_us  a value that has been old for so long is no answer but for one who need not wait; 0: each is one
--       asked_us, deadline_us   between these the asker expects to be heard (see late.lua); 0: at any time
--       worker       "" where nobody has asked: no figure counts it
--       id           of the slot, also the lease's token
--       cost         in slots
--       is_held      the queue holds the slot already
--       is_of_queue  it is asked for a job of the queue, which was accepted before
--       seen_before  what the process was replied of the epoch before, "" for none (see check_in in epoch.lua)
--       patience_us  a slot that comes free within this time is promised at once
--       budget       of the day (millionths of a dollar; 0: none)
--       page_price   the most that a page costs
--       log_head     the log's first 16 bytes, as the asker knows it
--       cleared      the last clear in it that matches the key: its sequence; 0: none
--       process
--       hours        of the symbol's timeline from which the answer is made; 0: it is made from none
--       timeline_cleared   the same as `cleared`, for the timeline
-- Replies  (moments as us of the server's time)
--       hit: now, entry                             fresh
--       stale: now, entry, failure                  old, and an answer; another refreshes it, or nobody may yet
--       derive: now, timeline                       the timeline is fresh, and was asked for as many hours
--       go: now, entry, seen, start, present_us, timeline   the asker has the slot and the lease; it must send
--                                                   nothing before start; present_us: for how long nobody will be
--                                                   absent (see present_for); entry and timeline may be ""
--       join: now, token, ends_at, entry            another loads it; entry may be "", as below
--       wait: now, retry_at, code, reason, seen, entry   there is no slot before retry_at; window.lua has
--                                                   the codes; seen: what check_in replies
--       failed: now, failure                        the last load failed, and it is too early for another
--       late: now                                   it is late, and nothing was done
--       cleared: now, log                           the asker does not know this log, and nothing was done
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- A server that was frozen must not act for askers that have given up by now.
if is_late(now, asked_us, deadline_us) then
    return reply_late(now)
end

-- A key of another type counts as missing, here and below: it was not written by tbcache.
local read = redis.pcall('MGET', clears, entry)
if read.err then
    -- The user may lack the right to one of the two keys.
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
-- Until when an entry is fresh lies too far ahead where the server's clock was set back since it was written.
local function lasts(head)
    local left = fresh_until(head) - now
    return left > needed_us and left <= ttl_us
end
local is_fresh = found and lasts(found)
local is_hit = is_fresh and charge == 'fetch'

-- Where the window is looked at below, all members of the fleet are needed anyway (see members_of). So they are read
-- once, and the time of this process is taken from them.
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
-- Whatever the reply will be, the process has been heard of, and it relies on that. But where the record is older than
-- the process remembers, Redis has lost data. Then the record stays as it is, so that check_in sees it (epoch.lua).
if last_seen and tonumber(last_seen) >= tonumber(string.match(seen_before, ' (%d+)$') or 0) then
    last_seen = math.max(now, tonumber(last_seen))
    redis.call('ZADD', fleet, last_seen, process)
end
if is_unknown then
    return reply_cleared(now, log)
end

-- Most asks end here, so all that only the other asks need comes below.
if is_hit then
    if is_held then
        for unit = 1, cost do
            redis.call('ZREM', slots, unit == 1 and id or id .. '#' .. unit)
        end
    end
    if worker ~= '' and redis.pcall('HINCRBY', usage, worker .. ':hit', 1) == 1 then
        redis.call('EXPIRE', usage, 2678400)
    end
    return reply_hit(now, found)
end

-- A value that is too old only stands in where waiting brings no new one.
local is_answer = found and not (stand_in_us > 0 and now - fresh_until(found) >= stand_in_us)

-- Mostly nobody loads the key or a timeline, so neither lease is there, and one command tells so. An error means that
-- the user lacks the right to it.
local is_new
if hours > 0 then
    is_new = redis.pcall('EXISTS', lease, timeline_lease, timeline) == 0
else
    is_new = redis.pcall('EXISTS', lease) == 0
end
-- One timeline serves answers for any number of hours up to its own. An error means a key of another type.
local timeline_head = hours > 0 and not is_new and redis.pcall('GETRANGE', timeline, 0, HOURS_BYTES - 1) or ''
timeline_head = type(timeline_head) == 'string' and birth_of(timeline_head) >= timeline_cleared and timeline_head or ''
local function read_timeline()
    local text = timeline_head ~= '' and redis.pcall('GET', timeline) or ''
    return type(text) == 'string' and text or ''
end
local serves = lasts(timeline_head) and hours_of(timeline_head) >= hours and hours > 0

--@include window
--@include usage
--@include lease
local window = {slots = slots, state = state, fleet = fleet, process = process, fleet_entries = fleet_entries or nil,
    is_for_new = not is_of_queue}
local has_slot = is_held and tonumber(redis.call('ZSCORE', slots, id) or 0) > now

-- Every verdict from here on goes through this function. The verdict decides what becomes of the slot that the queue
-- held for this ask:
--
--   verdict                        charge "fetch"   charge "request": the ask itself is what is charged
--   hit, derive                    given back       committed, by whoever replies so
--   stale, join, wait, failed      given back       stays held
--   go                             stays held       stays held
local function leave(name, reply)
    if name ~= 'go' and has_slot and charge == 'fetch' then
        release(slots, id, cost)
    end
    if worker ~= '' then count(usage, worker, name) end
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
        return leave('wait', reply_wait(now, retry_at, code, reason, seen, ''))
    end
    if is_fresh or serves then
        -- The ask itself is charged, and it is over now.
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
    -- This load began before the clear: nobody joins it, its failure counts no more, and its value will be dropped.
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
-- A job that was taken back from a dead worker goes on with the lease that the worker had. The names of a job's slots
-- begin with its id, by which the job is recognised here.
local job = has_slot and string.match(id, '^.+/')
local is_heir = job and load[1] and string.sub(load[1], 1, #job) == job
local ends_at = load[1] and lease_until(lease, load[2], load[7], now) or 0
if ends_at > now and load[1] ~= id and not is_heir then
    if is_answer then
        return leave('stale', reply_stale(now, found, failure or ''))
    end
    redis.pcall('HINCRBY', lease, 'waiters', 1)
    return leave('join', reply_join(now, load[1], ends_at, found or ''))
end
-- Another may be loading the timeline for as many hours or more, under the key of another answer.
local other = hours > 0 and not is_new
    and redis.pcall('HMGET', timeline_lease, 'token', 'until', 'hours', 'since', 'length') or {}
if other.err or other[1] and timeline_cleared > 0 and (tonumber(other[4]) or 0) < timeline_cleared then
    redis.call('UNLINK', timeline_lease)
    other = {}
end
local is_other = other[1] and other[1] ~= id and not (job and string.sub(other[1], 1, #job) == job)
local other_ends_at = is_other and lease_until(timeline_lease, other[2], other[5], now) or 0
if other_ends_at > now and (tonumber(other[3]) or 0) >= hours then
    if is_answer then
        return leave('stale', reply_stale(now, found, ''))
    end
    redis.pcall('HINCRBY', timeline_lease, 'waiters', 1)
    return leave('join', reply_join(now, other[1], other_ends_at, found or ''))
end
if budget > 0 then
--@include budget
    local mine = has_slot and cost or 0
    local funds_at, lack = look_at_budget(window, usage, purses, now, budget, page_price / cost, mine)
    if funds_at > retry_at then
        retry_at, code, reason, is_certain = funds_at, BUDGET, lack, false
    end
end
if retry_at > 0 and is_answer then
    return leave('stale', reply_stale(now, found, failure or ''))
end
if retry_at > 0 and not (is_certain and retry_at - now <= patience_us) then
    return leave('wait', reply_wait(now, retry_at, code, reason, seen, found or ''))
end

local start = math.max(now, retry_at)
hold(window, now, id, cost, hold_us, start, status)
local since = #log_head == 16 and string.match(log_head, '^[1-8]%d+$') or UNCLEARED
local ends_at, length = int(start + hold_us), int(start + hold_us - now)
renew_lease(lease, ends_at, length, 'token', id, 'waiters', 0, 'since', since, 'timeline', int(fresh_until(timeline_head)))
if load[6] then
    redis.call('HDEL', lease, 'generation')
end
-- The key outlives the lease, so that failures in a row are remembered from load to load.
local kept_ms = int((start + hold_us - now) / 1000 + 600000)
redis.call('PEXPIRE', lease, kept_ms)
if hours > 0 then
    renew_lease(timeline_lease, ends_at, length, 'token', id, 'waiters', 0, 'since', since, 'hours', hours)
    redis.call('PEXPIRE', timeline_lease, kept_ms)
end
return leave('go', reply_go(now, found or '', seen, start, start > now and present_for(window, now) or 0, read_timeline()))
