-- admit: one question, one verdict.
--
-- KEYS  1 slots   2 state   (see slots.lua)
--       3 entry   STRING  {"f":<fresh until, 16 digits, us>,"b":<birth, 16 digits>,"v":<JSON>}
--       4 lease   HASH    token, until (us): who loads the key, until when;
--                         since: the last clear when the load began, its value's birth;
--                         waiters: how many joined;
--                         failure, retry_at (us), failures: what the last load met
--       5 usage   HASH    of the source's UTC day
--       6 log     STRING  of clears (see clear.lua)    7 fleet   (see slots.lua)
--       8 purses  HASH    of the same day: process -> what of the budget it may spend
--                         without Redis (millionths of a dollar; see purse.lua)
-- ARGV  1 limits "count:span_us,..."    2 share of each limit (0..1]
--       3 charge "fetch" | "request"    4 lease (us)
--       5 freshness still needed (us; 0 for an ordinary ask)
--       6 deadline of the ask (us of server time; 0: none)
--       7 worker    8 slot id, also the lease's token    9 cost in slots
--      10 "held" when the slot is held already, else ""
--      11 what it was replied of the epoch before, "" for none (see meet in slots.lua)
--      12 patience (us): a slot that comes free within it is promised at once
--      13 the day's budget (millionths of a dollar; 0: none)   14 a page's price at most
--      15 the log's first 16 bytes, as the asker knows it
--      16 the last clear in it that matches the key: its sequence; 0: none
--      17 process
-- Replies {verdict, now, ...}, moments as integers (us):
--   {"hit", now, entry}                      fresh
--   {"stale", now, entry, failure or ""}     old; someone else refreshes, or must wait
--   {"go", now, entry or "", seen, start}   the slot is held, the lease is yours; send
--                                            nothing before start
--   {"join", now, token, until}              someone else loads it
--   {"wait", now, retry_at, code, reason, seen}   no slot before retry_at; why: see slots.lua;
--                                            seen: what meet replies
--   {"failed", now, failure}                 the last load failed; not yet again
--   {"late", now}                            the deadline has passed; nothing was done
--   {"cleared", now, log}                    the asker does not know the log; nothing was done
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local deadline = tonumber(ARGV[6])
-- A frozen server that thaws must not act for askers who have gone.
if deadline > 0 and now > deadline then
    return {'late', now}
end

-- Whatever is answered below, the process was heard: the asker reckons with that. Where an older note of it
-- than it knows of says that Redis lost data, that stays to be seen (see meet in slots.lua).
local noted = redis.call('ZSCORE', KEYS[7], ARGV[17])
local is_noted = noted and tonumber(noted) >= tonumber(string.match(ARGV[11], ' (%d+)$') or 0)
if is_noted then
    redis.call('ZADD', KEYS[7], string.format('%.0f', now), ARGV[17])
end

local log, known, cleared = KEYS[6], ARGV[15], tonumber(ARGV[16])
local head = redis.pcall('GETRANGE', log, 0, 15)
-- An error, here and below: a key of another type, which is nobody's.
head = type(head) == 'string' and head or ''
if head ~= known then
    return {'cleared', now, head ~= '' and redis.call('GET', log) or ''}
end

-- First the way most asks go, before anything that only the others need.
local entry = redis.pcall('GET', KEYS[3])
entry = type(entry) == 'string' and entry or false
if entry and cleared > 0 and (tonumber(string.sub(entry, 27, 42)) or 0) < cleared then
    entry = false
end
local is_fresh = entry and (tonumber(string.sub(entry, 6, 21)) or 0) > now + tonumber(ARGV[5])
if is_fresh and ARGV[3] == 'fetch' then
    if ARGV[10] == 'held' then
        for unit = 1, tonumber(ARGV[9]) do
            redis.call('ZREM', KEYS[1], unit == 1 and ARGV[8] or ARGV[8] .. '#' .. unit)
        end
    end
    if redis.pcall('HINCRBY', KEYS[5], ARGV[7] .. ':hit', 1) == 1 then
        redis.call('EXPIRE', KEYS[5], 2678400)
    end
    return {'hit', now, entry}
end

--@include slots
local slots, state, lease_key, usage = KEYS[1], KEYS[2], KEYS[4], KEYS[5]
local window = {slots = slots, state = state, fleet = KEYS[7], process = ARGV[17], limits = parse_limits(ARGV[1])}
local share, charge, lease, worker = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[7]
local id, cost = ARGV[8], tonumber(ARGV[9])
local is_held = ARGV[10] == 'held' and tonumber(redis.call('ZSCORE', slots, id) or 0) > now

local function verdict(name, ...)
    count(usage, worker, name)
    return {name, now, ...}
end

-- Gives back a slot that the queue held for this ask.
local function unneeded()
    if is_held and charge == 'fetch' then
        release(slots, id, cost)
    end
end

local seen = meet(window, now, ARGV[11], id)
local retry_at, code, reason, certain = 0, '', '', true
if not is_held then
    local _
    retry_at, code, reason, _, certain = look(window, now, cost, share)
    if code == GIVING_BACK then
        call_for_rooms(window, now)
    end
end

if charge == 'request' then
    if retry_at > 0 then
        return verdict('wait', retry_at, code, reason, seen)
    end
    if is_fresh then
        -- The ask itself is what is charged, and it is over now.
        if is_held then
            commit(slots, now, id, cost)
        else
            hold(window, now, id, cost, 0, now, share)
        end
        return verdict('hit', entry)
    end
end

local load = redis.pcall('HMGET', lease_key, 'token', 'until', 'failure', 'retry_at', 'since')
if load.err or cleared > 0 and (tonumber(load[5]) or 0) < cleared then
    -- A load from before the clear: nobody joins it, its failure is no news, its value is dropped.
    redis.call('UNLINK', lease_key)
    load = {}
end
local failure = load[3]
if failure and moment(load[4]) > now then
    unneeded()
    if entry then
        return verdict('stale', entry, failure)
    end
    return verdict('failed', failure)
end
-- A job taken back from a worker that died goes on with the lease that one had: the queue
-- names the slots of a job by its id.
local job = is_held and string.match(id, '^.+/')
local is_heir = job and load[1] and string.sub(load[1], 1, #job) == job
if load[1] and moment(load[2]) > now and load[1] ~= id and not is_heir then
    unneeded()
    if entry then
        return verdict('stale', entry, failure or '')
    end
    redis.pcall('HINCRBY', lease_key, 'waiters', 1)
    return verdict('join', load[1], moment(load[2]))
end
local budget, page = tonumber(ARGV[13]), tonumber(ARGV[14]) / cost
local funds_at, lack = look_at_budget(window, usage, KEYS[8], now, budget, page, is_held and cost or 0)
if funds_at > retry_at then
    retry_at, code, reason, certain = funds_at, BUDGET, lack, false
    unneeded()
end
if retry_at > 0 and entry then
    return verdict('stale', entry, failure or '')
end
if retry_at > 0 and not (certain and retry_at - now <= tonumber(ARGV[12])) then
    return verdict('wait', retry_at, code, reason, seen)
end

local start = math.max(now, retry_at)
hold(window, now, id, cost, lease, start, not is_held and share or nil)
local since = #known == 16 and string.match(known, '^[1-8]%d+$') or UNCLEARED
redis.call('HSET', lease_key, 'token', id, 'until', int(start + lease), 'waiters', 0, 'since', since)
redis.call('HDEL', lease_key, 'generation')
-- Outlives the lease, so that failures in a row are remembered between loads.
redis.call('PEXPIRE', lease_key, int((start + lease - now) / 1000 + 600000))
return verdict('go', entry or '', seen, start)
