--@include slots
--@include wake
-- settle: the end of a load, good or bad.
--
-- KEYS  1 slots   2 state   3 entry   4 lease   5 usage   (see admit.lua)
--       6 wake    LIST    one element once the load is over; joiners look at it
--       7 outbox  STREAM  answers accepted for the database: field "answer"
--       8 billed  SET     ids billed today, of what is billed once a day
-- ARGV  1 slot id of the last page    2 cost in slots    3 worker
--       4 "value" | "failure" | "abandon" (nothing was sent: the slot is given back) |
--         "interrupted" (a request may still be on its way: the slot stays held)
--       5 payload: the value's JSON, or the failure's
--       6 fresh for (us)    7 stale for, after that (us)
--       8 billed (millionths of a dollar)    9 latency bucket, "" for none
--      10 kind of error, ""      11 first back-off of a failure (us); 0: do not remember it
--      12 closed until (us), 0: not; -1: by our own back-off    13 reason
--      14 answer for the outbox, ""      15 pages fetched
--      16 the lease's token
--      17 what the upstream says is left, "span_us:left:until_us,..." by limit
--      18 limits "count:span_us,..."
--      19 deadline (us; 0: none)   20 the day's budget (millionths of a dollar; 0: none)
--         then what is billed once a day: id, price (millionths of a dollar), ...
-- Replies {stored, now, ours}: stored is 1 when the value is in Redis; ours 1 when the lease
-- was, 0 when it was no longer. {"late", now} past the deadline: the slot is dealt with
-- and that is all; the asker has kept and counted the rest himself.
local slots, state, entry_key, lease_key, usage, woken, outbox =
    KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local billed_key = KEYS[8]
local id, cost, worker, kind, payload = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local fresh, stale = tonumber(ARGV[6]), tonumber(ARGV[7])
local backoff, closed_until = tonumber(ARGV[11]), tonumber(ARGV[12])

local FIRST_STRIKE_US, LAST_STRIKE_US = 1000000, 300000000
local MOST_BACKOFF_US = 300000000
local WINDOWS_BEFORE_LESS = 4
local ROOM_TO_GROW = 12
local MOST_EDGE_US = 1000000
local OUTBOX_TTL_S = 7 * 86400

local now = server_time()
if kind == 'abandon' then
    release(slots, id, cost)
elseif kind ~= 'interrupted' then
    commit(slots, now, id, cost)
end
local deadline = tonumber(ARGV[19])
if deadline > 0 and now > deadline then
    return {'late', int(now)}
end

-- What the upstream refused to one is refused to all. Refusals of requests that were
-- under way together are one strike, not many.
local was_closed_until = moment(redis.call('HGET', state, 'closed_until'))
local is_same_strike = was_closed_until > now
if closed_until ~= 0 then
    local ours = 0
    if not is_same_strike then
        local strikes = redis.call('HINCRBY', state, 'strikes', 1)
        ours = now + math.min(FIRST_STRIKE_US * 2 ^ (strikes - 1), LAST_STRIKE_US)
    end
    local until_ = math.max(closed_until, ours, was_closed_until)
    redis.call('HSET', state, 'closed_until', int(until_), 'closed_reason', ARGV[13])
    if not is_same_strike then
        redis.call('HSET', state, 'closed_at', int(now))
    end
    tell(state, ' ' .. int(until_) .. ' ' .. ARGV[13])
elseif kind == 'value' then
    redis.call('HDEL', state, 'strikes')
end

-- Headroom: a refusal that names no figures teaches that others use the key as well. The
-- first says nothing of how much, and a third of the limit is left to them: to find out step
-- by step would cost a refusal a step. From then on their room grows by a tenth, and shrinks
-- by a fiftieth each few windows that go well, so that one refusal costs little.
local function learn(limit, span)
    local learned, next_at = 'learned:' .. int(span), 'learned_next:' .. int(span)
    local known = tonumber(redis.call('HGET', state, learned) or 0)
    if ARGV[10] == 'throttled' and ARGV[17] == '' then
        if is_same_strike then
            return
        end
        known = math.min(limit - 1, known + math.max(1, math.floor(limit / (known == 0 and 3 or 10))))
    elseif known > 0 and ARGV[17] == '' and now >= tonumber(redis.call('HGET', state, next_at) or 0) then
        known = math.max(0, known - math.max(1, math.floor(limit / 50)))
    else
        return
    end
    redis.call('HSET', state, learned, known, next_at, int(now + WINDOWS_BEFORE_LESS * span))
end
local limits = in_force(parse_limits(ARGV[18]), redis.call('HGET', state, 'limits') or '')
table.sort(limits, function(one, other) return one[2] < other[2] end)
if kind ~= 'abandon' and limits[1] then
    learn(limits[1][1], limits[1][2])
end

-- The upstream's own count lowers what is left, and never raises it: what it has seen
-- beyond our slots is somebody else's, and they may come a little more often. While slots
-- are held, or about to leave the window, it may have seen fewer of ours: then others have
-- used at least so much. Where they use less than they did, half of the difference is
-- believed, as they may only be between two bursts. What they still use beyond the end of
-- a word shows whether windows slide there, or are reset.
local function heed(limit, span, left, told_until)
    local seen = limit - left - redis.call('ZCOUNT', slots, '(' .. int(now - span), '+inf')
    local others = seen > 0 and math.min(limit - 1, seen + math.floor(limit / ROOM_TO_GROW)) or 0
    local edge = now - span + math.min(span / 20, MOST_EDGE_US)
    local is_exact = redis.call('ZCOUNT', slots, '(' .. int(now), '+inf') == 0
        and redis.call('ZCOUNT', slots, '(' .. int(now - span), int(edge)) == 0
    local name = int(span)
    local last = redis.call('HMGET', state,
        'foreign:' .. name, 'foreign_until:' .. name, 'learned:' .. name, 'slides:' .. name)
    local is_over = tonumber(last[2] or 0) <= now
    local is_reset = is_over and last[4] ~= '1'
    local known = tonumber(is_reset and last[3] or last[1] or 0)
    if others <= known and not is_exact or others == 0 and not last[2] then
        return
    end
    if others < known and not is_reset then
        others = math.floor((known + others) / 2)
    end
    if last[2] and is_over then
        redis.call('HSET', state, 'learned:' .. name, others, 'slides:' .. name, 2 * seen >= tonumber(last[1]) and 1 or 0)
    end
    redis.call('HSET', state, 'foreign:' .. name, others, 'foreign_until:' .. name, told_until)
end
-- By the limit in force, whatever the one who read it goes by: what the upstream leaves to a
-- larger limit is no less room for a smaller one.
for span, left, told_until in string.gmatch(ARGV[17], '(%d+):(%d+):(%d+)') do
    for _, limit in ipairs(limits) do
        if limit[2] == tonumber(span) then
            heed(limit[1], limit[2], tonumber(left), told_until)
        end
    end
end

redis.call('PEXPIRE', state, STATE_TTL_MS)

local load = redis.call('HMGET', lease_key, 'token', 'waiters', 'failures', 'since')
local is_ours = load[1] == ARGV[16]
local stored = 0
if is_ours then
    if kind == 'value' then
        -- Its birth hides it where a clear has come since: a clear that has been swept as well
        -- has taken the lease.
        local envelope = '{"f":' .. int(now + fresh) .. ',"b":' .. (load[4] or UNCLEARED) .. ',"v":' .. payload .. '}'
        redis.call('SET', entry_key, envelope, 'PX', int((fresh + stale) / 1000))
        redis.call('DEL', lease_key)
        stored = 1
    elseif kind == 'failure' and backoff > 0 then
        local failures = (tonumber(load[3] or 0) or 0) + 1
        local wait = math.max(backoff, math.min(backoff * 2 ^ (failures - 1), MOST_BACKOFF_US))
        redis.call('HSET', lease_key, 'failure', payload, 'retry_at', int(now + wait), 'failures', failures)
        redis.call('HDEL', lease_key, 'token', 'until')
        redis.call('PEXPIRE', lease_key, int(wait / 1000 + 600000))
    else
        redis.call('DEL', lease_key)
    end
    if (tonumber(load[2] or 0) or 1) > 0 then
        wake(woken, '1', 10000)
    end
end

if ARGV[14] ~= '' then
    redis.call('XADD', outbox, '*', 'answer', ARGV[14])
    redis.call('EXPIRE', outbox, OUTBOX_TTL_S)
end

if kind ~= 'abandon' then
    if tonumber(ARGV[15]) > 0 then count(usage, worker, 'pages', tonumber(ARGV[15])) end
    if ARGV[9] ~= '' then count(usage, worker, 'ms' .. ARGV[9]) end
    bill(usage, billed_key, now, worker, tonumber(ARGV[20]), tonumber(ARGV[8]), ARGV, 21)
    if ARGV[10] ~= '' then count(usage, worker, 'error.' .. ARGV[10]) end
    if ARGV[10] ~= '' or kind == 'value' then note_end(state, now, ARGV[10], 1) end
end
return {stored, int(now), is_ours and 1 or 0}
