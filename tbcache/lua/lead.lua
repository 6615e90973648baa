-- lead: takes or renews a lease, or gives it back.
-- KEYS  1 lease   STRING, the holder's name
-- ARGV  1 name   2 for how long (ms); 0: give it back
-- Replies 1 when the lease is the asker's, else 0.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
    return 0
end
if tonumber(ARGV[2]) == 0 then
    redis.call('UNLINK', KEYS[1])
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
