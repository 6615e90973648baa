--@include slot
--@include limit
--@include headroom
--@include notice
--@include budget
--@include wake
--@include envelope
--@include outbox
--@include late
--@include answered
-- settle: ends a load, whether it has succeeded or failed.
--
-- KEYS  slots, state, entry, lease, usage   (see admit.lua)
--       woken         LIST    which has one element once the load is over; those who joined wait for it
--       outbox        STREAM  of answers for the database: field "answer", and "overtaken" (1) where another load had
--                             the lease by then, or had ended
--       billed        SET     of the ids that were billed today, of items that are billed once a day
--       timeline, timeline_lease   the symbol's timeline and its lease; any keys where the answer is made from none
--       queue         pending, answered and bell of the source's queue (see queue.lua)
--       others        the entries of the symbol over other hours
-- ARGV  id            of the slot of the last page
--       cost          in slots
--       worker
--       kind          "value" | "failure" | "abandon" (nothing was sent: the slot is given back) |
--                     "interrupted" (a request may still be on its way: the slot stays held)
--       payload       the JSON of the value, or of the failure
--       fresh_us, stale_us   for how long the value is fresh, and stale after that
--       amount        the bill (millionths of a dollar)
--       latency       its bucket, "" for none
--       took_us       the latency itself
--       error_kind    "" for none
--       backoff_us    for how long a first failure stands; 0: the failure is not remembered
--       closed_until  (us); 0: the source is not closed; -1: it is, by a back-off of our own alone
--       reason        why the source is closed
--       answer        for the outbox; "" for none
--       pages         how many were fetched
--       token         of the lease
--       hints         what the upstream says is left of each limit, "span_us:left:until_us,..."
--       limits        "count:span_us,..."
--       asked_us, deadline_us   between these the asker expects to be heard (see late.lua); 0: at any time
--       budget        of the day (millionths of a dollar; 0: none)
--       has_timeline   the answer is made from a timeline
--       timeline_payload   the JSON of the timeline's value, which may be there without an answer; "" for none
--       timeline_us   for how long the timeline is kept
--       loader        what those who joined find in the list `woken`: the context of the load's span, "1" for none
--       once          the items that are billed once a day: id, price (millionths of a dollar), ...
-- Replies
--       settled: now, is_stored, is_ours   whether the value was stored, and whether the asker still had the lease
--       late: now                          it is late: only the slot was ended, as the asker has
--                                          kept and counted everything else itself
local FIRST_STRIKE_US, LAST_STRIKE_US = 1000000, 300000000
local MOST_STRIKES = 100
local MOST_BACKOFF_US = 300000000
local ROOM_TO_GROW = 12
local MOST_EDGE_US = 1000000

local now = server_time()
if kind == 'abandon' then
    release(slots, id, cost)
elseif kind ~= 'interrupted' then
    commit(slots, math.max(now, asked_us), id, cost)
end
if is_late(now, asked_us, deadline_us) then
    return reply_late(now)
end

-- What the upstream refuses to one process it refuses to all. Several requests that were under way together may all be
-- refused: they count as one refusal, so the back-off does not double with each of them.
local was_closed_until = moment(redis.call('HGET', state, 'closed_until'))
local is_same_strike = was_closed_until > now
if closed_until ~= 0 then
    local ours = 0
    if not is_same_strike then
        local strikes = bounded(redis.call('HGET', state, 'strikes'), 0, MOST_STRIKES, 0) + 1
        redis.call('HSET', state, 'strikes', strikes)
        ours = now + math.min(FIRST_STRIKE_US * 2 ^ (strikes - 1), LAST_STRIKE_US)
    end
    local until_ = math.max(closed_until, ours, was_closed_until)
    redis.call('HSET', state, 'closed_until', int(until_), 'closed_reason', reason)
    if not is_same_strike then
        redis.call('HSET', state, 'closed_at', int(now))
    end
    tell(state, ' ' .. int(until_) .. ' ' .. reason)
elseif kind == 'value' then
    redis.call('HDEL', state, 'strikes')
end

-- The most that others can be taken to use of a limit. One request of ours must always fit beside it: if none could be
-- sent, we would never learn that the others use less.
local function most_for_others(limit)
    return math.max(0, limit - cost)
end

-- Learns from a refusal without figures that others use the key as well. The first refusal does not say how much they
-- use, so a third of the limit is left to them: smaller steps would each cost a refusal. With each further refusal this
-- part grows by a tenth of the limit. Every few windows it shrinks by a fiftieth (learned_of), so one refusal costs
-- little.
local function learn(limit, span)
    if error_kind ~= 'throttled' or hints ~= '' or is_same_strike then
        return
    end
    local known = learned_of(state, limit, span, now)
    known = math.min(most_for_others(limit), known + math.max(1, math.floor(limit / (known == 0 and 3 or 10))))
    redis.call('HSET', state, 'learned:' .. int(span), known,
        'learned_next:' .. int(span), int(now + WINDOWS_BEFORE_LESS * span))
end
local all_limits = in_force(parse_limits(limits), redis.call('HGET', state, 'limits') or '')
table.sort(all_limits, function(one, other) return one[2] < other[2] end)
if kind ~= 'abandon' and all_limits[1] then
    learn(all_limits[1][1], all_limits[1][2])
end

-- Learns from the upstream's own count of a limit, which may lower what is left but never raises it. What it has seen
-- beyond our slots was used by others, and they may need a little more later. While slots of ours are held or about to
-- leave the window, the upstream may not have counted all of them: then the others have used at least the difference.
-- Where the others use less than before, only half of the change is believed, as they may just be between two bursts.
-- What they still use after the end of the named time shows whether the windows of this upstream slide or are reset.
local function heed(limit, span, left, resets_at)
    local seen = limit - left - redis.call('ZCOUNT', slots, '(' .. int(now - span), '+inf')
    local others = seen > 0 and math.min(most_for_others(limit), seen + math.floor(limit / ROOM_TO_GROW)) or 0
    local edge = now - span + math.min(span / 20, MOST_EDGE_US)
    local is_exact = redis.call('ZCOUNT', slots, '(' .. int(now), '+inf') == 0
        and redis.call('ZCOUNT', slots, '(' .. int(now - span), int(edge)) == 0
    local name = int(span)
    local last = redis.call('HMGET', state,
        'foreign:' .. name, 'foreign_until:' .. name, 'learned:' .. name, 'slides:' .. name)
    local is_over = moment(last[2], now + span + RESET_SLACK_US) <= now
    local is_reset = is_over and last[4] ~= '1'
    local known = part_of(is_reset and last[3] or last[1], limit)
    if others <= known and not is_exact or others == 0 and not last[2] then
        return
    end
    if others < known and not is_reset then
        others = math.floor((known + others) / 2)
    end
    if last[2] and is_over then
        redis.call('HSET', state, 'learned:' .. name, others, 'slides:' .. name, 2 * seen >= part_of(last[1], limit) and 1 or 0)
        redis.call('HDEL', state, 'learned_next:' .. name)
    end
    redis.call('HSET', state, 'foreign:' .. name, others, 'foreign_until:' .. name, resets_at)
end
-- The count is compared with the limit in force, and not with the limit that the reader of the answer goes by: where an
-- upstream counts by a larger limit, that takes nothing from a smaller one.
for span, left, resets_at in string.gmatch(hints, '(%d+):(%d+):(%d+)') do
    for _, limit in ipairs(all_limits) do
        if limit[2] == tonumber(span) then
            heed(limit[1], limit[2], tonumber(left), resets_at)
        end
    end
end

redis.call('PEXPIRE', state, STATE_TTL_MS)

local load = redis.call('HMGET', lease, 'token', 'waiters', 'failures', 'since', 'timeline')
local is_ours = load[1] == token
-- Where two loads of one timeline are under way, the one that was granted last, for more hours, has the lease.
local timeline_load = has_timeline and redis.call('HMGET', timeline_lease, 'token', 'waiters', 'since') or {}
local has_timeline_lease = timeline_load[1] == token
-- All answers of a symbol are of the last load of its timeline. Where another has ended since this one began, and what it has
-- stored is still fresh, what this one has made is older than that, and is told to nobody. A timeline that was there as this
-- one began is no sign of that: its lease has that moment, or a clear had hidden it by then.
local function was_overtaken()
    if not is_ours then
        return not has_timeline_lease
    end
    local head = has_timeline and not timeline_load[1] and redis.pcall('GETRANGE', timeline, 0, STAMPS_BYTES - 1)
    local before, since = tonumber(load[5]), tonumber(load[4]) or 0
    return before ~= nil and type(head) == 'string'
        and fresh_until(head) > now and fresh_until(head) ~= before and birth_of(head) >= since
end
local is_overtaken = was_overtaken()

-- Before the value is stored and the bill is paid: where the server refuses it, the asker keeps and counts all itself.
if answer ~= '' then
    keep_answer(outbox, answer, is_overtaken)
end

local is_stored = false
if is_ours then
    if kind == 'value' then
        -- Where a clear has come since the load began, the birth of the value hides it. A clear whose sweep is over
        -- has removed the lease, so that nothing is stored here.
        if not is_overtaken then
            local value = seal(int(now + fresh_us), load[4] or UNCLEARED, payload)
            redis.call('SET', entry, value, 'PX', int((fresh_us + stale_us) / 1000))
            is_stored = true
            tell_queue(entry)
        end
        redis.call('DEL', lease)
    elseif kind == 'failure' and backoff_us > 0 then
        local failures = bounded(load[3], 0, MOST_STRIKES, 0) + 1
        local wait = math.max(backoff_us, math.min(backoff_us * 2 ^ (failures - 1), MOST_BACKOFF_US))
        redis.call('HSET', lease, 'failure', payload, 'retry_at', int(now + wait), 'failures', failures)
        redis.call('HDEL', lease, 'token', 'until', 'length')
        redis.call('PEXPIRE', lease, int(wait / 1000 + 600000))
    else
        redis.call('DEL', lease)
    end
    if (tonumber(load[2] or 0) or 1) > 0 then
        wake(woken, loader, 10000)
    end
end

if has_timeline_lease then
    if timeline_payload ~= '' then
        local value = seal(int(now + fresh_us), timeline_load[3] or UNCLEARED, timeline_payload)
        redis.call('SET', timeline, value, 'PX', int(timeline_us / 1000))
        -- What was made of the timeline before is old now: all answers of a symbol are of its last load.
        outdate(others, now, math.huge)
    end
    redis.call('DEL', timeline_lease)
    if (tonumber(timeline_load[2] or 0) or 1) > 0 then
        wake(woken, loader, 10000)
    end
end

if kind ~= 'abandon' then
    if pages > 0 then count(usage, worker, 'pages', pages) end
    if latency ~= '' then
        count(usage, worker, 'ms' .. latency)
        count(usage, worker, 'took', took_us)
    end
    bill(usage, billed, now, worker, budget, amount, once)
    if error_kind ~= '' then count(usage, worker, 'error.' .. error_kind) end
    if error_kind ~= '' or kind == 'value' then record_end(state, now, error_kind, 1) end
end
return reply_settled(now, is_stored, is_ours)
