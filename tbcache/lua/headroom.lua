--@include number
-- headroom: what others use of a limit with the same key.

local FOREIGN_POLL_US = 100000

-- What others use of a window with the same key, as the upstream's headers told or its
-- refusals taught, and until when that holds. `own` are our slots in it.
local function foreign(slots_key, state_key, limit, span, now, own)
    local name = int(span)
    local told = redis.call('HMGET', state_key,
        'foreign:' .. name, 'foreign_until:' .. name, 'learned:' .. name, 'slides:' .. name)
    local until_ = tonumber(told[2] or 0)
    if until_ > now then
        return tonumber(told[1]), until_
    end
    if told[4] == '1' then
        return tonumber(told[1]), now + span
    end
    if told[3] or not told[1] then
        return tonumber(told[3] or 0), now + span
    end
    -- The first word is past: windows may reset, or slide. One request goes to hear the next.
    local others = tonumber(told[1])
    if redis.call('ZCOUNT', slots_key, '(' .. int(now), '+inf') == 0 then
        others = math.max(0, math.min(others, limit - own - 1))
    end
    return others, now + FOREIGN_POLL_US
end
