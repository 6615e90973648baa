--@include headroom
--@include limit
--@include stop
-- backlog: what waits in a queue, and how much of it may go within a time to come.
--
-- KEYS  queue        (see queue.lua)
--       slots, state   of the source (see state.lua)
-- ARGV  limits       "": none
--       cost         of a job in slots
--       horizon_us   so long from now on
-- Replies  now, waiting, oldest_ms, begun, begun_us, admissible
--                      how many wait in its lanes, or are put off and due in that time; when the oldest was queued (ms
--                      since 1970; 0: nothing waits), of the first of each lane, and of what is overdue; how many were handed out, and in how long; how many may go in that time by the
--                      limits, also if all of them did: none while the source is closed or paused; -1: any number
local MOST_LOOKED_AT = 10
local now = server_time()

-- A key of another type counts as empty.
local function number(...)
    return tonumber(redis.pcall(...)) or 0
end

local waiting, first = 0, {}
for _, lane in ipairs({interactive, prewarm, suspects}) do
    local many = number('ZCARD', lane)
    waiting = waiting + many
    for _, id in ipairs(many > 0 and redis.call('ZRANGE', lane, 0, MOST_LOOKED_AT - 1) or {}) do
        first[#first + 1] = id
    end
end

-- No worker may be there, who would bring them into their lanes as they fall due.
waiting = waiting + number('ZCOUNT', delayed, '-inf', int(now + horizon_us))
local overdue = redis.pcall('ZRANGEBYSCORE', delayed, '-inf', int(now), 'LIMIT', 0, MOST_LOOKED_AT)
for _, id in ipairs(overdue.err and {} or overdue) do
    first[#first + 1] = id
end

local oldest_ms = 0
for _, message in ipairs(first[1] and redis.call('HMGET', jobs, unpack(first)) or {}) do
    local at = message and tonumber(string.match(message, '"message_timestamp": ?(%d+)'))
    if at and (oldest_ms == 0 or at < oldest_ms) then
        oldest_ms = at
    end
end

local minute = math.floor(now / MINUTE_US)
local counted = redis.pcall('HMGET', pace, int(minute), int(minute - 1))
local begun = (tonumber(counted[1] or nil) or 0) + (tonumber(counted[2] or nil) or 0)
local begun_us = MINUTE_US + now - minute * MINUTE_US

-- Of one limit, the slots that can be taken until then: a window that ends by then is used again and again.
local function slots_of(limit)
    local count, span = limit[1], limit[2]
    local ours = number('ZCOUNT', slots, '(' .. int(now - span), '+inf')
    local others = others_use(slots, state, count, span, now, ours)
    if span <= horizon_us then
        return math.floor((count - others) * horizon_us / span)
    end
    return count - others - number('ZCOUNT', slots, '(' .. int(now + horizon_us - span), '+inf')
end

local admissible = -1
if limits ~= '' then
    local stored = redis.call('HMGET', state, 'limits', 'closed_until', 'order')
    for _, limit in ipairs(in_force(parse_limits(limits), stored[1] or '')) do
        local many = math.max(0, math.floor(slots_of(limit) / cost))
        admissible = admissible < 0 and many or math.min(admissible, many)
    end
    if moment(stored[2]) > now + horizon_us or stopped_by(stored[3]) then
        admissible = 0
    end
elseif stopped_by(redis.call('HGET', state, 'order')) then
    admissible = 0
end
return reply_backlog(now, waiting, oldest_ms, begun, begun_us, admissible)
