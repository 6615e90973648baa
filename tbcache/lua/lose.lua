--@include epoch
--@include fleet
--@include slot
--@include step
-- lose: mends a window as the server's clock was set, so that every stamp of it is off by as much.
-- Those that look too old by now are made so much later, and those that are too late count for longer. Every
-- process then puts back its own slots by its own clock (restore.lua).
--
-- KEYS  window   (see state.lua)
-- ARGV  step_us      by how much it was set, at most; below 0: it was set back
--       ago_us       so long ago it was as before
--       known        the epoch that it knew then; "" where it has learned it since
--       earliest_us, latest_us   the time is between these while the answer is waited for, unless it was set once more
--       epoch        the name for a new one
-- Replies 1 when it is mended, by this process or by another that was first; 0 when the time is another, and nothing
-- was done: what is said of a clock that is not in force any more would make all moments wrong.
local now, later = server_time(), math.max(0, step_us)
if now < earliest_us or now > latest_us then
    return 0
end
local stored = redis.call('HMGET', state, 'epoch', 'stepped_at', 'lost_at', 'whole_at', 'lease', 'stepped', 'stepped_by')
-- Another process has mended this step already if the last mend (`stepped_at`) lies between the moment of the step and now.
-- That moment alone is no proof: a clock that is set back and put right shows the same times twice. So it is another step
-- if this process knew, before it, the epoch in force, or the one that the last mend began. A mend in the future was
-- noted before the clock was set back, and so was of an earlier step.
local is_another = known == stored[1] or known == stored[6]
local stepped_at = moment(stored[2])
local is_mended = not is_another and stepped_at >= now - ago_us and stepped_at <= now

local hold = bounded(stored[5], 0, HOUR_US, 0)
-- No slot is held beyond that.
local latest = clear_at(state, now, hold)

-- A closure lasts for as long as it would have without the step, unless it was noted after that.
local function move_closure(by)
    local closed = redis.call('HMGET', state, 'closed_at', 'closed_until')
    local closed_at, closed_until = moment(closed[1]), moment(closed[2])
    if closed_until > 0 and (closed_at < now - ago_us or closed_at > now) then
        redis.call('HSET', state, 'closed_at', int(math.max(0, closed_at + by)))
        redis.call('HSET', state, 'closed_until', int(math.max(0, closed_until + by)))
    end
end

if not stored[1] then
    return 1
end
if is_mended then
    -- Whoever had it mended may have begun after a part of it: then what was noted before that looks too old by the rest.
    -- No epoch begins for that, as nobody misses anything: what was put back since counts for longer.
    local slack = latest_us - earliest_us
    local mended_by = bounded(stored[7], -LAST_MOMENT, LAST_MOMENT, step_us)
    if step_us - mended_by > slack then
        -- Where that mend was of a step back, what was stamped after it looks too old by all that has come since.
        put_right(state, slots, now, step_us - mended_by, latest)
        move_closure(step_us - mended_by)
        keep_slots(slots, math.ceil(2 * (latest - now) / 1000) + 1000)
        redis.call('HSET', state, 'stepped_by', int(step_us))
    end
    return 1
end

put_right(state, slots, now, later, latest)
redis.call('HDEL', state, 'wanted_until')
move_closure(step_us)

-- No process has been heard of in the new time, so each counts as absent until it is. The absence of one that was absent
-- before stays as long as it was, because it may have sent something in all of that time. What was noted of each process
-- before the step tells whether Redis has lost something besides (see check_in).
local members = redis.call('ZRANGE', fleet, 0, -1, 'WITHSCORES')
for i = 1, #members, 2 do
    redis.call('HSET', state, 'noted:' .. members[i], int(tonumber(members[i + 1])))
    redis.call('HDEL', state, 'silence:' .. members[i])
    redis.call('ZADD', fleet, int(math.min(tonumber(members[i + 1]) + later, now - ABSENT_US - 1)), members[i])
end

-- Where a loss was not made good yet, or the key of the slots came to its end by the new time, something is missing.
local whole_at = whole_from(stored[3], stored[4], clear_at(state, 0, 0), hold)
-- A loss in the future was noted before the clock was set back. Any other may have been noted before or after the step.
local by_then = moment_of_loss(stored[3]) > now and now - step_us or now - later
local was_whole = by_then >= whole_at
if was_whole and (redis.call('EXISTS', slots) == 1 or step_us < 0) then
    redis.call('HDEL', state, 'lost_at', 'whole_at')
    redis.call('HSET', state, 'past', stored[1])
    keep_slots(slots, math.ceil(2 * (latest - now) / 1000) + 1000)
else
    lose(state, now, stored[1])
end
redis.call('HSET', state, 'epoch', epoch, 'stepped', epoch, 'stepped_at', int(now), 'stepped_by', int(step_us))
return 1
