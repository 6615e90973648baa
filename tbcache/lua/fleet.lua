--@include member
-- fleet: the limits on which the processes of a source agree, and how a process leaves.

-- Whether these are limits as `agree` writes them.
local function is_agreed(limits)
    local parts = {}
    for _, limit in ipairs(parse_limits(limits)) do
        parts[#parts + 1] = limit_name(limit)
    end
    return parts[1] and table.concat(parts, ',') == limits
end

-- Sets the limits in force: of the limits of all processes, the strictest of each span. What was learned of other users
-- of the same API key was measured against the old limit, so it is dropped together with that.
local function agree(state_key, fleet_key)
    local fields = {}
    for i, process in ipairs(redis.call('ZRANGE', fleet_key, 0, -1)) do
        fields[i] = 'limits:' .. process
    end
    -- What an operator has set holds beside what the processes were started with.
    local limits = parse_limits(bound_of(state_key) or '')
    for _, text in ipairs(read_fields(state_key, fields)) do
        limits = in_force(limits, text or '')
    end
    local counts, parts = {}, {}
    for i, limit in ipairs(limits) do
        counts[limit[2]], parts[i] = limit[1], limit_name(limit)
    end
    for _, old in ipairs(parse_limits(redis.call('HGET', state_key, 'limits') or '')) do
        if counts[old[2]] ~= old[1] then
            local span = int(old[2])
            redis.call('HDEL', state_key, 'foreign:' .. span, 'foreign_until:' .. span,
                'learned:' .. span, 'learned_next:' .. span, 'slides:' .. span)
        end
    end
    if parts[1] then
        redis.call('HSET', state_key, 'limits', table.concat(parts, ','))
    else
        redis.call('HDEL', state_key, 'limits')
    end
end

-- Removes a process from the fleet. One of its slots may be in a window until `gone_at` (us).
local function forget(state_key, fleet_key, process, gone_at)
    if gone_at > moment(redis.call('HGET', state_key, 'left_until')) then
        redis.call('HSET', state_key, 'left_until', int(gone_at))
    end
    redis.call('ZREM', fleet_key, process)
    for _, name in ipairs({'share:', 'rooms:', 'limits:', 'died:', 'noted:', 'silence:'}) do
        redis.call('HDEL', state_key, name .. process)
    end
end

-- The moment (us) from which on nothing that a process has sent can be in a window. `last` is the last moment at which
-- it may have sent something, which has arrived within `hold` of that. It may have been the first of all to send. So
-- the windows of all limits in force count, and not only those in which a slot was taken.
local function clear_at(state_key, last, hold)
    local stored = redis.call('HMGET', state_key, 'horizon', 'limits')
    return last + hold + math.max(bounded(stored[1], 0, LONGEST_WINDOW_US, 0), longest(parse_limits(stored[2] or '')))
end
