-- time: the clock of the server that holds the source's keys.
-- KEYS  state   or any other key of the source
-- Replies  seconds, micros
local clock = redis.call('TIME')
return reply_time(clock[1], clock[2])
