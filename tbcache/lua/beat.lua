--@include slots
-- beat: a process says that it is there, and learns its share of the source's limits: the
-- part that is its own while Redis is away from it. The shares never add up to more than 1.
--
-- KEYS  1 slots   2 state   3 fleet   (see slots.lua)
-- ARGV  1 limits   2 process   3 share it goes by until it has read this reply
--       4 deadline (us; 0: none)   5 forget who was silent for longer (us)
-- Replies {now, share, free, epoch, process, ...}: free as in admit.lua; the epoch in
-- force ("" for none); then the absent. {now} past the deadline: nothing was done.
local window = {slots = KEYS[1], state = KEYS[2], fleet = KEYS[3]}
local process, deadline = ARGV[2], tonumber(ARGV[4])

local now = server_time()
if deadline > 0 and now > deadline then
    return {int(now)}
end
redis.call('ZADD', window.fleet, int(now), process)
local forgotten_at = int(now - tonumber(ARGV[5]))
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', window.fleet, '-inf', forgotten_at)) do
    redis.call('ZREM', window.fleet, gone)
    redis.call('HDEL', window.state, 'share:' .. gone)
end

local fleet, given = redis.call('ZRANGE', window.fleet, 0, -1), 0
for _, other in ipairs(fleet) do
    if other ~= process then
        given = given + tonumber(redis.call('HGET', window.state, 'share:' .. other) or 0)
    end
end
local share = math.max(0, math.min(1 / #fleet, 1 - given))
-- Until it has read this it goes by the old one: the larger of the two is taken.
redis.call('HSET', window.state, 'share:' .. process, math.max(share, math.min(tonumber(ARGV[3]), 1 - given)))
redis.call('PEXPIRE', window.fleet, 86400000)
redis.call('PEXPIRE', window.state, STATE_TTL_MS)

local _, _, tightest = look(window, parse_limits(ARGV[1]), now, 0, 1)
local epoch = redis.call('HGET', window.state, 'epoch') or ''
local absent = redis.call('ZRANGEBYSCORE', window.fleet, '-inf', '(' .. int(now - ABSENT_US))
return {int(now), string.format('%.9f', share), free_part(tightest, 0), epoch, unpack(absent)}
