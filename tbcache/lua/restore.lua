--@include epoch
--@include member
--@include slot
--@include late
-- restore: puts back the slots that a process took while Redis was away, and those that Redis has lost.
--
-- A slot whose request was answered gets the process's stamp, which is no earlier than its arrival. The stamp that
-- Redis has may be later, where it still holds the slot. Or it may be earlier, where the answer to the ask was lost,
-- and the process has sent the request without Redis after that. A slot whose request is under way is held.
--
-- KEYS  window       (see state.lua)
--       back         HASH  process -> "EPOCH WHOLE MEMBERS LEFT_UNTIL TOLD_AT": for which epoch it has put its
--                          slots back, and what it knew before (`whole` to `census_age_us`; as moments, us)
-- ARGV  horizon      (us)
--       process
--       seen_before  what it was replied of the epoch before, "" for none (see check_in)
--       seen_ago_us  at most so long ago it was replied that, by the time of then; -1 where that is not known
--       epoch        the name for a new one
--       hold_us
--       whole        the last epoch of which it knew that nothing was missing, "" for none
--       members      how many the fleet had then
--       left_us      for how long a slot of those that had left by then may be in a window yet
--       census_age_us  how long ago it was told so
--       asked_us, deadline_us   between these the asker expects to be heard (see late.lua); 0: at any time
--       is_member    it is to be in the fleet from now on, as after a beat
--       going_by     the share that it goes by, "" for none
--       allowances        it goes by, "count:span=allowance,..."
--       taken        slot id, age (us; negative while it is held; "": it was perhaps granted, and is not used), ...
-- Replies
--       restored: now, seen   seen: what check_in replies
--       late: now             it is late: nothing was done
-- Records the share ("" for none) and the allowances that the process goes by, or the larger ones that are known.
local function write_parts(window, share, allowances)
    local state, process = window.state, window.process
    if share ~= '' and tonumber(share) > bounded(redis.call('HGET', state, 'share:' .. process), 0, 1, 0) then
        redis.call('HSET', state, 'share:' .. process, share)
    end
    local reserved = read_allowances(redis.call('HGET', state, 'rooms:' .. process) or '')
    for span, allowance in pairs(read_allowances(allowances)) do
        add_allowance(reserved, span, allowance.limit, allowance.slots)
    end
    write_allowances(window, reserved)
end

local now = server_time()
if is_late(now, asked_us, deadline_us) then
    return reply_late(now)
end
local is_first = seen_before == '' and redis.call('HEXISTS', state, 'epoch') == 0
local window = {slots = slots, state = state, fleet = fleet, process = process}
local seen = check_in(window, now, seen_before, epoch, is_member, nil, seen_ago_us)
local current = string.match(seen, '^%S+')
if is_first then
    -- A process that comes back to an empty Redis, and knew nothing of it, does not know what it has lost.
    -- Those who do are back as soon as this one.
    redis.call('HSET', state, 'lost_at', int(now), 'whole_at', int(now + ABSENT_US))
end
redis.call('HSET', state, 'returned_at', int(now))
longest_hold(state, hold_us)
if is_member then
    -- Redis may have lost the share that the process goes by. It must be reserved in case the process is cut off again.
    write_parts(window, going_by, allowances)
    redis.call('PEXPIRE', window.fleet, 86400000)
end
for i = 1, #taken, 2 do
    local id, age = taken[i], tonumber(taken[i + 1])
    if not age then
        release(slots, id, 1)
    elseif age < 0 then
        redis.call('ZADD', slots, 'GT', int(now - age), id)
    else
        redis.call('ZADD', slots, int(now - age), id)
    end
end
local known_horizon = bounded(redis.call('HGET', state, 'horizon'), 0, LONGEST_WINDOW_US, 0)
if horizon > known_horizon then
    known_horizon = horizon
    redis.call('HSET', state, 'horizon', int(horizon))
end
local ttl_ms = math.ceil((known_horizon + longest_hold(state, hold_us)) / 1000) + 60000
keep_slots(slots, ttl_ms)

-- The window is whole again once all processes have put their slots back, and the slots of those that had left by then
-- are old. A process that joined after the loss has nothing to put back, and counts for none.
if whole ~= '' and whole ~= current and redis.call('HEXISTS', state, 'lost_at') == 1 then
    local left_until, told_at = int(now + left_us), int(now - census_age_us)
    redis.call('HSET', back, process, table.concat({current, whole, int(members), left_until, told_at}, ' '))
    expire_after(back, ttl_ms)
    local moments, latest, returned, awaited = {}, 0, 0, 0
    -- Processes that joined later may still be heard of, until the first of them would be absent.
    local whole_at = bounded(redis.call('HGET', state, 'lost_at'), 0, now, now) + ABSENT_US
    for _, text in ipairs(redis.call('HVALS', back)) do
        local theirs, before, count, left, at = string.match(text, '^(%S+) (%S+) (%d+) (%d+) (%d+)$')
        if theirs == current and before == whole then
            moments[#moments + 1] = tonumber(at)
            latest, awaited = math.max(latest, tonumber(at)), math.max(awaited, tonumber(count))
            whole_at = math.max(whole_at, tonumber(left))
        end
    end
    -- A process that had been forgotten when the others were last told of the fleet was not counted there.
    for _, at in ipairs(moments) do
        returned = returned + (latest - at < FORGET_US - CLOCK_SLACK_US and 1 or 0)
    end
    if returned >= awaited then
        redis.call('HSET', state, 'whole_at', int(whole_at))
    else
        redis.call('HDEL', state, 'whole_at')
    end
end
return reply_restored(now, seen)
