--@include slots
-- name: gives a place among the names that are shown to one that is no configured source.
--
-- KEYS  1 names   ZSET  name -> when it was last used (us)
-- ARGV  1 name   2 how many names there may be
--       3 for how long a name that is not used keeps its place where others want it (us)
--       4 for how long it keeps it where nobody does (us)
-- Replies 1; 0 where every place is taken.
local name, most, kept, shown = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local now = server_time()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now - shown))
if not redis.call('ZSCORE', KEYS[1], name) and redis.call('ZCARD', KEYS[1]) >= most then
    local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    if tonumber(oldest[2]) > now - kept then
        return 0
    end
    redis.call('ZREM', KEYS[1], oldest[1])
end
redis.call('ZADD', KEYS[1], int(now), name)
redis.call('PEXPIRE', KEYS[1], int(shown / 1000))
return 1
