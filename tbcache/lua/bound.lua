--@include fleet
--@include said
--@include state
--@include notice
-- bound: an operator sets limits of a source, which hold beside those that its processes were started with, or takes
-- them back. Each of them is in force from this moment on, for whoever asks Redis. The same limits set again change nothing.
--
-- KEYS  state, fleet   (see state.lua)
-- ARGV  limits    "count:span_us,...", "-" to take back what was set
--       since     0: it is said now; else it was said then (us), and Redis may have lost it
--       who
--       why       "" for no reason
-- Replies  before, stands, limits_before, limits   what stood until now, with since when, and what stands from now on, ""
--          for nothing (see said.lua); the limits in force until now, and from now on, "" where no process uses the source
local limits_before = redis.call('HGET', state, 'limits') or ''
local stood = standing(state, 'bound')
local stays = stood and stood.value == limits and limits ~= '-'
local before, stands, is_written = say_over(state, 'bound', stood, stays, limits, since, who, why)
redis.call('PEXPIRE', state, STATE_TTL_MS)
if is_written then
    agree(state, fleet)
    -- All give back what they might take without Redis, and learn the limits as they do.
    redis.call('HSET', state, 'wanted_until', int(server_time() + ABSENT_US))
    tell(state, '')
end
return reply_ordered(before, stands, limits_before, redis.call('HGET', state, 'limits') or '')
