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
local stood = standing(state, 'order')
local stays = stood and (what == 'pause' or what == 'drain') and (stood.value == what or stood.value == 'pause')
local before, stands, is_written = say_over(state, 'order', stood, stays, what, since, who, why)
redis.call('PEXPIRE', state, STATE_TTL_MS)
if is_written then
    local code, words = stopped_by(stands)
    tell(state, code and ' paused ' .. words or ' resumed')
    if not code then
        -- A consumer that waits for the end of a pause need not wait until it looks again.
        redis.call('RPUSH', bell, '1')
        redis.call('EXPIRE', bell, 60)
    end
end
return reply_ordered(before, stands, '', '')
