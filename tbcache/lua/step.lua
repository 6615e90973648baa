--@include number
-- step: what becomes of the moments of a window as the server's clock was set.

-- The latest that a moment of the state can be (us); nil for what is no such moment. Where the clock was set back,
-- what lies in the future by as much would hold until then.
local function latest_of(name, now, latest)
    if name == 'left_until' then
        return latest
    elseif name == 'returned_at' or name == 'demand_at' or string.find(name, '^died:') then
        return now
    end
    for _, kind in ipairs({'paced', 'foreign_until', 'learned_next'}) do
        local span = string.match(name, '^' .. kind .. ':(%d+)$')
        if span then
            return now + span
        end
    end
end

-- Makes every stamp of a window, and every moment of its state, later by `later`, and none later than it can be; for a
-- stamp that is `latest`.
local function put_right(state_key, slots_key, now, later, latest)
    local found = redis.call('ZRANGE', slots_key, 0, -1, 'WITHSCORES')
    for i = 1, #found, 2 do
        redis.call('ZADD', slots_key, int(math.min(tonumber(found[i + 1]) + later, latest)), found[i])
    end
    for _, name in ipairs(redis.call('HKEYS', state_key)) do
        local most = latest_of(name, now, latest)
        if most then
            local at = moment(redis.call('HGET', state_key, name))
            redis.call('HSET', state_key, name, int(math.min(at + later, most)))
        end
    end
end
