--@include number
-- name: makes room for a name among those that views show, of a source that is not configured, or of a queue.
--
-- KEYS  names     ZSET  name -> when it was last used (us)
-- ARGV  name
--       most      how many names there may be
--       kept_us   for how long an unused name keeps its place where another needs it
--       shown_us  for how long it keeps the place where no other does
-- Replies 1; 0 where all places are taken.
local now = server_time()
redis.call('ZREMRANGEBYSCORE', names, '-inf', int(now - shown_us))
if not redis.call('ZSCORE', names, name) and redis.call('ZCARD', names) >= most then
    local oldest = redis.call('ZRANGE', names, 0, 0, 'WITHSCORES')
    if moment(oldest[2]) > now - kept_us then
        return 0
    end
    redis.call('ZREM', names, oldest[1])
end
redis.call('ZADD', names, int(now), name)
redis.call('PEXPIRE', names, int(shown_us / 1000))
return 1
