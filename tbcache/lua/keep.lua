--@include wake
-- keep: the end of a load that load.lua allowed.
-- KEYS  1 entry   2 lease   3 wake   (see admit.lua, settle.lua)
-- ARGV  1 token   2 generation   3 the entry, "" where the load failed   4 its TTL (ms)
-- Replies 1 when the value is in Redis, 0 when the load failed, or the key was cleared meanwhile.
local load = redis.call('HMGET', KEYS[2], 'token', 'generation', 'waiters')
local kept = 0
-- Of several loads of one generation, the first to end is kept: the others took over from
-- it because it was slow.
if load[2] == ARGV[2] and ARGV[3] ~= '' then
    redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
    kept = 1
end
if kept == 1 or load[1] == ARGV[1] then
    redis.call('UNLINK', KEYS[2])
end
-- Where the lease was taken, by a clear, nobody knows who waits.
if not load[1] or (tonumber(load[3]) or 1) > 0 then
    wake(KEYS[3], '1', 10000)
end
return kept
