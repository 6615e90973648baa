-- lead: takes or renews a lease, or gives it back.
-- KEYS  lease     STRING, the holder's name
-- ARGV  name
--       lease_ms  for how long; 0: give it back
-- Replies 1 when the lease is the asker's, else 0.
local holder = redis.call('GET', lease)
if holder and holder ~= name then
    return 0
end
if lease_ms == 0 then
    redis.call('UNLINK', lease)
    return 0
end
redis.call('SET', lease, name, 'PX', lease_ms)
return 1
