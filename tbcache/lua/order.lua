--@include number
--@include state
--@include notice
--@include stop
-- order: pauses or drains a source or a queue, or lets it go on, as an operator has said.
--
-- KEYS  state     (see state.lua)
--       bell      of the queue of the same name (see queue.lua)
-- ARGV  what      "pause" | "drain" | "resume"
--       who
--       why       "" for no reason
-- Replies  before   the order that held until now, "" for none (see state.lua)
local before = redis.call('HGET', state, 'order') or ''
if what == 'resume' then
    redis.call('HDEL', state, 'order')
else
    redis.call('HSET', state, 'order', what .. ' ' .. int(server_time()) .. ' ' .. who .. ' ' .. why)
    redis.call('PEXPIRE', state, STATE_TTL_MS)
end
local code, words = stopped_by(redis.call('HGET', state, 'order'))
tell(state, code and ' paused ' .. words or ' resumed')
if not code then
    -- A consumer that waits for the end of a pause need not wait until it looks again.
    redis.call('RPUSH', bell, '1')
    redis.call('EXPIRE', bell, 60)
end
return reply_ordered(before)
