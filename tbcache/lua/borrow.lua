-- borrow: what the pre-warm lane may take of a limit, beside the interactive asks.
--
-- Included where it is needed, by window.lua.

local PACES_AHEAD = 2  -- the pre-warm lane makes good what it was late
local EXPECTED = 0.2  -- of a limit: interactive asks that are reckoned with before there are any

-- When the pre-warm lane may take `cost` of a limit that has room (0: now). It borrows of
-- the reserve what the interactive asks do not need: at each of some times ahead, what is
-- free and what will have come free is to last for them, who come at random (two deviations
-- more than their mean). One request fits beside the reserve whatever the fraction is.
local function borrow(slots_key, limit, now, free, cost, fraction, rate)
    local count, span = limit[1], limit[2]
    local reserve = count - math.max(cost, math.floor(count * fraction))
    for _, ahead in ipairs({0, span / 32, span / 8, span / 4, span / 2, 3 * span / 4}) do
        local asked = math.max(rate, EXPECTED * count / span) * ahead
        local needed = math.min(reserve, 1 + math.ceil(asked + 2 * math.sqrt(asked)))
        local leaving = redis.call('ZCOUNT', slots_key, '(' .. int(now - span), int(now - span + ahead))
        if free + leaving < needed then
            local first = redis.call('ZRANGEBYSCORE', slots_key, '(' .. int(now - span), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
            return math.min(tonumber(first[2] or now) + span, now + span / 16)
        end
    end
    return 0
end
