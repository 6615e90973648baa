--@include number
-- limit: reads and compares limits. A limit is {count, span (us)}, and several are written "count:span_us,...".

-- "300:900000000,10000:86400000000" -> {{300, 900000000, "900000000"}, ...}. What is no limit is left out.
local function parse_limits(text)
    local limits = {}
    for count, span in string.gmatch(text, '(%d+):(%d+)') do
        local limit = {bounded(count, 1, MOST_SLOTS), bounded(span, 1, LONGEST_WINDOW_US), span}
        if limit[1] and limit[2] then
            limits[#limits + 1] = limit
        end
    end
    return limits
end

-- The limits that hold: those of the asker and those of the fleet. Where both have the same span, the smaller count is
-- taken.
local function in_force(limits, fleet)
    local by_span, merged = {}, {}
    for _, some in ipairs({limits, parse_limits(fleet)}) do
        for _, limit in ipairs(some) do
            local known = by_span[limit[2]]
            if known then
                known[1] = math.min(known[1], limit[1])
            else
                merged[#merged + 1] = {limit[1], limit[2]}
                by_span[limit[2]] = merged[#merged]
            end
        end
    end
    return merged
end

-- What an operator has set of the source, in the form of parse_limits; nil for nothing. It holds for every ask.
local function bound_of(state_key)
    return string.match(redis.call('HGET', state_key, 'bound') or '', '^%d%S*')
end

local function limit_name(limit)
    return string.format('%.0f:%.0f', limit[1], limit[2])
end

local function shortest(limits)
    local span = limits[1][2]
    for _, limit in ipairs(limits) do
        span = math.min(span, limit[2])
    end
    return span
end

local function longest(limits)
    local span = 0
    for _, limit in ipairs(limits) do
        span = math.max(span, limit[2])
    end
    return span
end
