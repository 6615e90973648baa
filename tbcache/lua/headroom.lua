--@include number
-- headroom: what others use of a limit with the same key.

local OTHERS_POLL_US = 100000
local WINDOWS_BEFORE_LESS = 4

-- What refusals have taught that others use of a window. It fades by itself, by a fiftieth of the limit each few
-- windows: a lane that waits for it to be less cannot show that it is. What upstreams told in figures does not fade.
local function learned_of(state_key, limit, span, now)
    local stored = redis.call('HMGET', state_key, 'learned:' .. int(span), 'learned_next:' .. int(span))
    local known, less_at = tonumber(stored[1] or 0) or 0, tonumber(stored[2] or nil)
    if not less_at or now < less_at then
        return known
    end
    local steps = 1 + math.floor((now - less_at) / (WINDOWS_BEFORE_LESS * span))
    return math.max(0, known - steps * math.max(1, math.floor(limit / 50)))
end

-- What others use of a window with the same key, as the upstream's headers told or its
-- refusals taught, and until when that holds. `ours` are our slots in it.
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
    -- The time that the upstream named is past: its windows may reset, or slide. One request may go to learn which.
    others = tonumber(others)
    if redis.call('ZCOUNT', slots_key, '(' .. int(now), '+inf') == 0 then
        others = math.max(0, math.min(others, limit - ours - 1))
    end
    return others, now + OTHERS_POLL_US
end
