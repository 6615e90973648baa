--@include number
-- headroom: how much of a limit is used by others with the same API key.

local OTHERS_POLL_US = 100000
local WINDOWS_BEFORE_LESS = 4

-- How much of a window others use, as refusals have shown. This fades with time, by a fiftieth of the limit every few
-- windows: a lane that waits for room sends nothing, so it cannot find out that there is room again. Figures that an
-- upstream has stated do not fade.
local function learned_of(state_key, limit, span, now)
    local stored = redis.call('HMGET', state_key, 'learned:' .. int(span), 'learned_next:' .. int(span))
    local known, less_at = tonumber(stored[1] or 0) or 0, tonumber(stored[2] or nil)
    if not less_at or now < less_at then
        return known
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
    local others, until_, learned, slides = stored[1], tonumber(stored[2] or 0), stored[3], stored[4]
    if until_ > now then
        return tonumber(others), until_
    end
    if slides == '1' then
        return tonumber(others), now + span
    end
    if learned or not others then
        return learned and learned_of(state_key, limit, span, now) or 0, now + span
    end
    -- The time that the upstream named has passed. Its windows may be reset then, or they may slide. One request may be
    -- sent to find out which.
    others = tonumber(others)
    if redis.call('ZCOUNT', slots_key, '(' .. int(now), '+inf') == 0 then
        others = math.max(0, math.min(others, limit - ours - 1))
    end
    return others, now + OTHERS_POLL_US
end
