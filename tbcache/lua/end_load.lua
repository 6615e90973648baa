--@include wake
-- end_load: ends a load that begin_load.lua has allowed.
-- KEYS  entry, lease, woken   (see admit.lua, settle.lua)
-- ARGV  token, generation
--       value   the entry; "" where the load failed
--       ttl_ms  of the entry
-- Replies 1 where the value was stored; 0 where the load failed, or the key was cleared meanwhile.
local load = redis.call('HMGET', lease, 'token', 'generation', 'waiters')
local kept = 0
-- Several loads may have the same generation, since others take over from one that is slow. The first that ends is
-- stored.
if load[2] == generation and value ~= '' then
    redis.call('SET', entry, value, 'PX', ttl_ms)
    kept = 1
end
if kept == 1 or load[1] == token then
    redis.call('UNLINK', lease)
end
-- Where a clear has removed the lease, nobody knows whether a process waits.
if not load[1] or (tonumber(load[3]) or 1) > 0 then
    wake(woken, '1', 10000)
end
return kept
