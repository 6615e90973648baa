--@include slots
-- restore: puts back the slots a process took while Redis was away, or that Redis lost.
--
-- KEYS  1 slots   2 state   (see slots.lua)
--       3 back    HASH  process -> the epoch for which it has put its slots back
-- ARGV  1 horizon (us)   2 process   3 how many processes take slots, as far as it knows
--       4 epoch it has seen   5 name for a new epoch   6 lease (us)
--       then slot id, age (us; negative while it is held), ...
-- Replies {epoch in force, 1 when the source is open}. A slot that is known
-- keeps the later stamp of the two: either is at or after its arrival. One that is still
-- held here although its answer is in, which could not be told, is held no longer.
local slots, state, back = KEYS[1], KEYS[2], KEYS[3]
local horizon, process = tonumber(ARGV[1]), ARGV[2]

local now = server_time()
local current = epoch(state, ARGV[4], now, ARGV[5])
if ARGV[4] ~= '' and current ~= ARGV[4] then
    -- The epoch in force may be that of one who had nothing to lose.
    redis.call('HSETNX', state, 'lost_at', int(now))
end
redis.call('HSET', state, 'returned_at', int(now), 'lease', ARGV[6])
for i = 7, #ARGV, 2 do
    local id, age = ARGV[i], tonumber(ARGV[i + 1])
    if age >= 0 then
        commit(slots, now, id, 1)
    end
    redis.call('ZADD', slots, 'GT', int(now - age), id)
end
if horizon > tonumber(redis.call('HGET', state, 'horizon') or 0) then
    redis.call('HSET', state, 'horizon', int(horizon))
end
redis.call('PEXPIRE', slots, int(horizon / 1000 + 60000))

if not redis.call('HGET', state, 'lost_at') then
    return {current, 1}
end
-- Once all have put back what they sent, the window is whole again.
local fleet = math.max(tonumber(ARGV[3]), tonumber(redis.call('HGET', state, 'fleet') or 1))
redis.call('HSET', state, 'fleet', fleet)
redis.call('HSET', back, process, current)
redis.call('PEXPIRE', back, int(horizon / 1000 + 60000))
local returned = 0
for _, for_epoch in ipairs(redis.call('HVALS', back)) do
    if for_epoch == current then
        returned = returned + 1
    end
end
if returned < fleet then
    return {current, 0}
end
redis.call('HDEL', state, 'lost_at', 'fleet')
return {current, 1}
