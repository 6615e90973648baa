--@include number
--@include state
--@include notice
--@include stop
-- order: an operator has a source or a queue paused, or drained, or go on.
--
-- KEYS  state     (see state.lua)
--       bell      of the queue of the same name (see queue.lua)
-- ARGV  what      "pause" | "drain" | "resume"
--       who
--       why       "" for no reason
-- Replies  before   what was said until now, "" for nothing (see state.lua)
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
