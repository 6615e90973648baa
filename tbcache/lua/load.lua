-- load: may this process load the value of a key, or does another do so already?
-- KEYS  1 entry   2 lease   (see admit.lua; the lease also has
--       generation: the token of the first load since the key was last cleared)
-- ARGV  1 token   2 lease (us)   3 the last clear that the asker knows, the value's birth
--       4 the last clear that matches the key: its sequence; 0: none   (see clear.lua)
-- Replies {"hit"}                   there is a value by now
--         {"go", generation}        the lease is yours
--         {"join", token, left}     another loads it, for that long (us) at most
local KEPT_MS = 3600000  -- a load may take longer than its lease, if nobody else asks

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cleared = tonumber(ARGV[4])
local head = redis.call('GETRANGE', KEYS[1], 0, 41)
if (tonumber(string.sub(head, 6, 21)) or 0) > now and (tonumber(string.sub(head, 27)) or 0) >= cleared then
    return {'hit'}
end

local load = redis.call('HMGET', KEYS[2], 'token', 'until', 'generation', 'since')
if (tonumber(load[4]) or 0) < cleared then
    redis.call('UNLINK', KEYS[2])
    load = {}
end
if load[1] and (tonumber(load[2]) or 0) > now then
    redis.call('HINCRBY', KEYS[2], 'waiters', 1)
    return {'join', load[1], tonumber(load[2]) - now}
end
local generation = load[3] or ARGV[1]
local until_ = string.format('%.0f', now + ARGV[2])
redis.call('HSET', KEYS[2], 'token', ARGV[1], 'until', until_, 'generation', generation, 'waiters', 0)
redis.call('HSETNX', KEYS[2], 'since', ARGV[3])
redis.call('PEXPIRE', KEYS[2], math.ceil(ARGV[2] / 1000) + KEPT_MS)
return {'go', generation}
