--@include number
-- headroom: how much of a limit is used by others with the same API key.

local OTHERS_POLL_US = 100000
local WINDOWS_BEFORE_LESS = 4

-- How much of a window others use, as refusals have shown. This fades with time, by a fiftieth of the limit every few
-- windows: a lane that waits for room sends nothing, so it cannot find out that there is room again. Figures that an
-- upstream has stated do not fade.
local function learned_of(state_key, limit, span, now)
    local stored = redis.call('HMGET', state_key, 'learned:' .. int(span), 'learned_next:' .. int(span))
    local known = part_of(stored[1], limit - 1)
    if not stored[2] then
        return known
    end
    -- One that does not say when to try less is forgotten, as it would stay for ever.
    local less_at = bounded(stored[2], 0, now + WINDOWS_BEFORE_LESS * span)
    if not less_at or now < less_at then
        return less_at and known or 0
    end
    local steps = 1 + math.floor((now - less_at) / (WINDOWS_BEFORE_LESS * span))
    return math.max(0, known - steps * math.max(1, math.floor(limit / 50)))
end

-- How much of a window others with the same key use, by the headers of the upstream or by its refusals, and until when
-- that holds. `ours` is how many slots of the fleet are in the window.
local function others_use(slots_key, state_key, limit, span, now, ours)
    local name = int(span)
    local stored = redis.call('HMGET', state_key,
        'foreign:' .. name, 'foreign_until:' .. name, 'learned:' .. name, 'slides:' .. name)
    local others, learned, slides = part_of(stored[1], limit), stored[3], stored[4]
    local until_ = moment(stored[2], now + span + RESET_SLACK_US)
    if until_ > now then
        return others, until_
    end
    if slides == '1' then
        -- This has no end, so there is room for one of ours (see settle.lua), also by a smaller limit.
        return math.min(others, limit - 1), now + span
    end
    if learned or not stored[1] then
        return learned and learned_of(state_key, limit, span, now) or 0, now + span
    end
    -- The time that the upstream named has passed. Its windows may be reset then, or they may slide. One request may be
    -- sent to find out which.
    if redis.call('ZCOUNT', slots_key, '(' .. int(now), '+inf') == 0 then
        others = math.max(0, math.min(others, limit - ours - 1))
    end
    return others, now + OTHERS_POLL_US
end
