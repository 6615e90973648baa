--@include number
-- token: a leader's, which all it writes carries (see lead.lua); the highest that was seen stands in `fence`.
local FENCE_TTL_S = 30 * 86400
local MOST_TOKEN = 4503599627370496

-- The highest token that was seen, where it is not this one, which is a later leader's: what this one writes is
-- refused. Else 0.
local function later_token(fence, token)
    local seen = redis.pcall('GET', fence)
    local highest = bounded(seen, 0, MOST_TOKEN, 0)
    if highest > token then
        return highest
    end
    if highest < token then
        redis.call('SET', fence, int(token), 'EX', FENCE_TTL_S)
    end
    return 0
end
