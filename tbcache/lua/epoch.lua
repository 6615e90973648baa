--@include number
--@include state
-- epoch: notices that Redis has lost data, and tells from when on a window is known again.

local LOST_POLL_US = 250000
local CLOCK_SLACK_US = 2000000  -- allows for the time an answer takes, and for how far clocks drift apart in FORGET_US

-- For how long (us) a request of any process may be under way, the asker's own with its `hold` included.
local function longest_hold(state_key, hold)
    local longest_yet = bounded(redis.call('HGET', state_key, 'lease'), 0, HOUR_US, 0)
    if hold > longest_yet then
        redis.call('HSET', state_key, 'lease', hold)
    end
    return math.max(hold, longest_yet)
end

-- When a loss was noticed; 0 where none was. A damaged moment counts as one that is yet to come, until the next beat puts
-- it right.
local function moment_of_loss(text)
    return bounded(text or 0, 0, LAST_MOMENT, math.huge)
end

-- From when on (us) a window is known again after a loss: once all processes have put their slots back, or else once
-- all that was sent before has arrived and left the window.
local function whole_from(lost_at, whole_at, span, hold)
    lost_at = moment_of_loss(lost_at)
    local latest = lost_at + span + hold
    return lost_at > 0 and bounded(whole_at, lost_at, latest, latest) or 0
end

-- Records that a loss of data was noticed, which ends the epoch `past`.
local function lose(state_key, now, past)
    redis.call('HSET', state_key, 'lost_at', int(now), 'past', past)
    redis.call('HDEL', state_key, 'whole_at')
end

-- True where something else was written over the slots of a window, so that these are lost. Otherwise the window knows
-- how many stamps there are, including those that have left it.
local function is_overwritten(window)
    local found = redis.pcall('ZCARD', window.slots)
    window.stamps = tonumber(found)
    return not window.stamps and string.find(tostring(found.err), 'WRONGTYPE', 1, true) ~= nil
end

-- Whether Redis has also lost data, in an epoch that began because its clock was set. It has where the process was told
-- something that is later than what Redis noted of it then.
local function has_lost_besides(window, current, seen_us)
    local stored = redis.call('HMGET', window.state, 'stepped', 'noted:' .. window.process)
    return stored[1] == current and seen_us > moment(stored[2])
end

-- Whether the server's clock was set forward since the epoch in force began, unnoticed by those who know it: all that
-- was noted in it looks older than it is. The process was told of the epoch before at `seen_us`, at most `seen_ago` us
-- ago, so that it knows the latest that the time can be by the clock of this epoch. That was set as the epoch began, at
-- most by what is noted; or a loss was noticed then, which was later than `seen_us`, whatever the clock said.
local function is_set_forward(window, current, now, seen_us, seen_ago)
    if seen_us == 0 or seen_ago < 0 then
        return false
    end
    local stored = redis.call('HMGET', window.state, 'stepped', 'stepped_by', 'lost_at')
    local set_by = stored[1] == current and bounded(stored[2], -LAST_MOMENT, LAST_MOMENT)
        or math.min(0, bounded(stored[3], 0, LAST_MOMENT, seen_us) - seen_us)
    return now > seen_us + seen_ago + set_by
end

-- The process of the window is heard, and notices whether Redis has lost data. `seen_before` is what it was replied
-- here the last time, "EPOCH HEARD", "" for nothing: the epoch it knows, and when Redis recorded that it was
-- heard (us; 0: never). Who knows another epoch than the one in force takes nothing before it has put its own slots
-- back. Where the fleet has no such record of it, Redis went back to an older state: that is a loss as well, and
-- `name` is the new epoch's. So it is a loss where something else was written over the slots: that is recorded, and the
-- script ends here with the server's error. `last_seen`: when it was last heard of, as the fleet has it: false for
-- never, nil where the script has not looked. `seen_ago`: at most so long ago (us) it was told `seen_before`; nil where
-- it does not put its slots back with this ask. Replies "EPOCH HEARD".
local function check_in(window, now, seen_before, name, joins, last_seen, seen_ago)
    local seen_epoch, seen_us = string.match(seen_before, '^(%S+) ?(%d*)$')
    seen_us = tonumber(seen_us or 0) or 0
    local epoch = (window.stored or redis.call('HMGET', window.state, 'epoch'))[1]
    -- A look of version 0.1.0 wrote an empty epoch. One that is empty or not printable counts as missing.
    local current = epoch and string.match(epoch, '^[%w%p]+$')
    if last_seen == nil then
        last_seen = redis.call('ZSCORE', window.fleet, window.process)
    end
    last_seen = tonumber(last_seen or nil)
    -- A process that was absent for this long was forgotten. It has to put its slots back as well.
    local is_forgotten = seen_us > 0 and not last_seen and now - seen_us >= FORGET_US
    local are_lost = is_overwritten(window)
    if not current then
        current = name
        redis.call('HSET', window.state, 'epoch', current)
        redis.call('PEXPIRE', window.state, STATE_TTL_MS)
        if seen_epoch then
            lose(window.state, now, seen_epoch)
        end
    elseif seen_epoch and seen_epoch ~= current then
        -- The epoch in force may be one that a process has begun which knew of no loss, or one of long ago.
        local past = redis.call('HGET', window.state, 'past')
        if past == seen_epoch and is_set_forward(window, current, now, seen_us, seen_ago or -1) then
            -- Stamps of those who have put theirs back in it are too early: everyone is to do that once more.
            lose(window.state, now, current)
            current = name
            redis.call('HSET', window.state, 'epoch', current)
        elseif past ~= seen_epoch or not is_forgotten and has_lost_besides(window, current, seen_us) then
            lose(window.state, now, seen_epoch)
            redis.call('HDEL', window.state, 'stepped')
        end
    elseif seen_epoch and are_lost or seen_us > (last_seen or 0) and not is_forgotten then
        lose(window.state, now, current)
        current = name
        redis.call('HSET', window.state, 'epoch', current)
    end
    -- It takes nothing now, so it is no matter that what was read of the state may have changed.
    window.is_behind = is_forgotten or seen_epoch and seen_epoch ~= current
    -- A record from the future means that the clock was set back, which does not tell how long ago the process was heard.
    -- Or it is damaged: then what the process was told last is past, and far from it. A step does not part the two, as
    -- whoever has been told something beats, and is told anew, every few seconds.
    window.is_set_back = (last_seen or 0) > now
    if window.is_set_back and seen_us > 0 and seen_us <= now and last_seen > now + MINUTE_US then
        window.is_set_back, last_seen = false, 0
    end
    if (last_seen or joins) and (last_seen or 0) < now then
        -- The moment never becomes earlier, because that would look like a loss after the clock was set back.
        redis.call('ZADD', window.fleet, now, window.process)
    end
    if are_lost then
        redis.call('ZCARD', window.slots)
    end
    return current .. ' ' .. ((last_seen or joins) and not is_forgotten and int(now) or '0')
end
