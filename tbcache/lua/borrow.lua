-- borrow: how much of a limit the pre-warm lane may take without delaying the interactive asks.
--
-- window.lua includes it where it is needed.

local PACES_AHEAD = 2  -- by so many slots the pre-warm lane may be ahead of its pace, to make up for delays
local EXPECTED = 0.2  -- this part of a limit is expected to be asked for interactively, before anything is known

-- Replies when the pre-warm lane may take `cost` slots of a limit that has room (0: now).
--
-- The lane may use the reserve as far as the interactive asks do not need it. At each of some times ahead, the slots
-- that are free now and those that come free until then have to suffice for the interactive asks. These come at random,
-- so two standard deviations are added to their mean. Whatever the fraction is, one request fits beside the reserve:
-- otherwise the lane of a small limit would never get a slot.
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
