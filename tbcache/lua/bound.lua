--@include fleet
--@include state
--@include notice
-- bound: an operator sets limits of a source, which hold beside those that its processes were started with, or takes
-- them back. Each of them is in force from this moment on, for whoever asks Redis.
--
-- KEYS  state, fleet   (see state.lua)
-- ARGV  limits    "count:span_us,...", "" to take back what was set
--       who
--       why       "" for no reason
-- Replies  limits, before   in force from now on, "" where no process uses the source; what was set until now, ""
--          for nothing (see state.lua)
local before = redis.call('HGET', state, 'bound') or ''
if limits == '' then
    redis.call('HDEL', state, 'bound')
else
    redis.call('HSET', state, 'bound', limits .. ' ' .. int(server_time()) .. ' ' .. who .. ' ' .. why)
    redis.call('PEXPIRE', state, STATE_TTL_MS)
end
agree(state, fleet)
-- All give back what they might take without Redis, and learn the limits as they do.
redis.call('HSET', state, 'wanted_until', int(server_time() + ABSENT_US))
tell(state, '')
return reply_bounded(redis.call('HGET', state, 'limits') or '', before)
