-- time: the clock of the server that holds the source's keys.
-- KEYS  1 any key of the source      Replies {seconds, microseconds}.
return redis.call('TIME')
