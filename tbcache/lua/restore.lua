--@include slots
-- restore: puts back the slots a process took while Redis was away, or that Redis lost.
--
-- KEYS  1 slots   2 state   4 fleet   (see slots.lua)
--       3 back    HASH  process -> "EPOCH WHOLE MEMBERS LEFT_UNTIL TOLD_AT": for which epoch it has put its
--                       slots back, and what it knew before (arguments 6 to 9; as moments, us)
-- ARGV  1 horizon (us)   2 process   3 what it was replied of the epoch before, "" for none (see meet)
--       4 name for a new epoch   5 lease (us)
--       6 the last epoch of which it knew that nothing was missing, "" for none
--       7 how many members the fleet had then
--       8 for how long (us) a slot of those that had left by then may be in a window yet
--       9 how long ago (us) it was told so
--      10 deadline (us; 0: none)
--      11 "member" where it is to be in the fleet from now on, as after a beat; else ""
--      12 share it goes by, "" for none   13 rooms it goes by, "count:span=room,..."
--       then slot id, age (us; negative while it is held), ...
-- Replies {what meet replies, now}, or {"late", now} past the deadline: nothing was done. A slot that is known
-- keeps the later stamp of the two: either is at or after its arrival. One that is still
-- held here although its answer is in, which could not be told, is held no longer.
local slots, state, back = KEYS[1], KEYS[2], KEYS[3]
local horizon, process, whole = tonumber(ARGV[1]), ARGV[2], ARGV[6]

local now, deadline = server_time(), tonumber(ARGV[10])
if deadline > 0 and now > deadline then
    return {'late', int(now)}
end
local is_first = ARGV[3] == '' and redis.call('HEXISTS', state, 'epoch') == 0
local window, is_member = {state = state, fleet = KEYS[4], process = process}, ARGV[11] == 'member'
local seen = meet(window, now, ARGV[3], ARGV[4], is_member)
local current = string.match(seen, '^%S+')
if is_first then
    -- Who comes back to an empty Redis, and knew nothing of it, does not know what it has lost.
    -- Those who do are back as soon as this one.
    redis.call('HSET', state, 'lost_at', int(now), 'whole_at', int(now + ABSENT_US))
end
redis.call('HSET', state, 'returned_at', int(now))
longest_lease(state, ARGV[5])
if is_member then
    -- Redis may have lost what it goes by: should it be cut off again now, that is kept for it.
    keep_parts(window, ARGV[12], ARGV[13])
    redis.call('PEXPIRE', window.fleet, 86400000)
end
for i = 14, #ARGV, 2 do
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

-- The window is whole again once all have put back what they sent, and what was sent by those who
-- had left by then is old. Who joined after the loss stands for nobody.
if whole ~= '' and whole ~= current and redis.call('HEXISTS', state, 'lost_at') == 1 then
    local left_until, told_at = int(now + tonumber(ARGV[8])), int(now - tonumber(ARGV[9]))
    redis.call('HSET', back, process, table.concat({current, whole, ARGV[7], left_until, told_at}, ' '))
    redis.call('PEXPIRE', back, int(horizon / 1000 + 60000))
    local told, latest, returned, members = {}, 0, 0, 0
    -- Those who joined later may be heard of as late as the first that is silent.
    local whole_at = tonumber(redis.call('HGET', state, 'lost_at')) + ABSENT_US
    for _, text in ipairs(redis.call('HVALS', back)) do
        local theirs, before, count, left, at = string.match(text, '^(%S+) (%S+) (%d+) (%d+) (%d+)$')
        if theirs == current and before == whole then
            told[#told + 1] = tonumber(at)
            latest, members = math.max(latest, tonumber(at)), math.max(members, tonumber(count))
            whole_at = math.max(whole_at, tonumber(left))
        end
    end
    -- One that was forgotten when the others were last told was not among those they were told of.
    for _, at in ipairs(told) do
        returned = returned + (latest - at < FORGET_US - CLOCK_SLACK_US and 1 or 0)
    end
    if returned >= members then
        redis.call('HSET', state, 'whole_at', int(whole_at))
    else
        redis.call('HDEL', state, 'whole_at')
    end
end
return {seen, int(now)}
