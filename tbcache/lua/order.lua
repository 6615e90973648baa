--@include number
--@include said
--@include state
--@include notice
--@include stop
-- order: pauses or drains a source or a queue, or lets it go on, as an operator has said. What is paused is not drained: it
-- would be sent what waits.
--
-- KEYS  state     (see state.lua)
--       bell      of the queue of the same name (see queue.lua)
-- ARGV  what      "pause" | "drain" | "resume"
--       since     0: it is said now; else it was said then (us), and Redis may have lost it
--       who
--       why       "" for no reason
-- Replies  before, stands, limits_before, limits   the order that stood until now, with since when, and the one that stands
--          from now on, "" for none (see said.lua); "", ""
local stood = redis.call('HMGET', state, 'order', 'order_since')
local value, number, first_who, first_why = string.match(stood[1] or '', '^(%S+) (%d+) (%S+) ?(.*)$')
local stood_number = bounded(number, 1, LAST_SINCE, 0)
local said_again, first = string.match(stood[2] or '', '^(%d+) (%d+)$')
first = said_again == number and bounded(first, 1, stood_number, stood_number) or stood_number
-- What stands and is said again, or stays, is said for who said it first. It has a new number all the same: where Redis is back
-- from an old file, what was said before that must not undo it.
local is_again = since == 0 and stood_number > 0
    and (what == 'pause' or what == 'drain') and (value == what or value == 'pause')
if is_again then
    what, who, why = value, first_who, first_why
end
local before, stands = say(state, 'order', what, since, who, why)
if is_again then
    redis.call('HSET', state, 'order_since', string.match(stands, '^%S+ (%d+)') .. ' ' .. int(first))
end
redis.call('PEXPIRE', state, STATE_TTL_MS)
if stands ~= before then
    local code, words = stopped_by(stands)
    tell(state, code and ' paused ' .. words or ' resumed')
    if not code then
        -- A consumer that waits for the end of a pause need not wait until it looks again.
        redis.call('RPUSH', bell, '1')
        redis.call('EXPIRE', bell, 60)
    end
end
if stood_number > 0 then
    before = value .. ' ' .. int(first) .. ' ' .. first_who .. ' ' .. first_why
end
return reply_ordered(before, stands, '', '')
