--@include envelope
--@include lease
-- begin_load: may this process load the value of a key, or does another do so already?
-- KEYS  entry, lease   (see admit.lua; the lease also has
--            generation: the token of the first load since the key was last cleared)
-- ARGV  token
--       lease_us
--       birth    of the value: the last clear that the asker knows   (see clear.lua)
--       cleared  the sequence of the last clear that matches the key; 0: none
-- Replies
--       present:                  there is a value by now
--       leased: generation        the lease is the asker's
--       loading: holder, left_us  another loads it, for that long at most
local KEPT_MS = 3600000  -- the key stays for so long, as a load may outlast its lease where nobody else asks

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local head = redis.call('GETRANGE', entry, 0, STAMPS_BYTES - 1)
if fresh_until(head) > now and birth_of(head) >= cleared then
    return reply_present()
end

local load = redis.call('HMGET', lease, 'token', 'until', 'generation', 'since', 'length')
if (tonumber(load[4]) or 0) < cleared then
    redis.call('UNLINK', lease)
    load = {}
end
local left = lease_until(lease, load[2], load[5], now) - now
-- A lease that would hold for longer than its key lives is damaged, so it is taken over.
if load[1] and left > 0 and left < KEPT_MS * 1000 then
    redis.pcall('HINCRBY', lease, 'waiters', 1)
    return reply_loading(load[1], left)
end
local generation = load[3] or token
renew_lease(lease, int(now + lease_us), int(lease_us), 'token', token, 'generation', generation, 'waiters', 0)
redis.call('HSETNX', lease, 'since', birth)
redis.call('PEXPIRE', lease, math.ceil(lease_us / 1000) + KEPT_MS)
return reply_leased(generation)
