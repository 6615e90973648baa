--@include number
-- name: gives a place among the names that are shown to one that is no configured source.
--
-- KEYS  names     ZSET  name -> when it was last used (us)
-- ARGV  name
--       most      how many names there may be
--       kept_us   for how long a name that is not used keeps its place where others want it
--       shown_us  for how long it keeps it where nobody does
-- Replies 1; 0 where every place is taken.
local now = server_time()
redis.call('ZREMRANGEBYSCORE', names, '-inf', int(now - shown_us))
if not redis.call('ZSCORE', names, name) and redis.call('ZCARD', names) >= most then
    local oldest = redis.call('ZRANGE', names, 0, 0, 'WITHSCORES')
    if tonumber(oldest[2]) > now - kept_us then
        return 0
    end
    redis.call('ZREM', names, oldest[1])
end
redis.call('ZADD', names, int(now), name)
redis.call('PEXPIRE', names, int(shown_us / 1000))
return 1
