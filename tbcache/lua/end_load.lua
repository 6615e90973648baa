--@include wake
-- end_load: the end of a load that begin_load.lua allowed.
-- KEYS  entry, lease, woken   (see admit.lua, settle.lua)
-- ARGV  token, generation
--       value   the entry; "" where the load failed
--       ttl_ms  of the entry
-- Replies 1 when the value is in Redis, 0 when the load failed, or the key was cleared meanwhile.
local load = redis.call('HMGET', lease, 'token', 'generation', 'waiters')
local kept = 0
-- The first of several loads of one generation to end is kept: the others took over from
-- it because it was slow.
if load[2] == generation and value ~= '' then
    redis.call('SET', entry, value, 'PX', ttl_ms)
    kept = 1
end
if kept == 1 or load[1] == token then
    redis.call('UNLINK', lease)
end
-- Where a clear has taken the lease, nobody knows who waits.
if not load[1] or (tonumber(load[3]) or 1) > 0 then
    wake(woken, '1', 10000)
end
return kept
