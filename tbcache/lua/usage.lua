--@include number
--@include state
-- usage: the figures of a source, and how its last fetches ended.

-- Adds to a usage figure, which is the field "worker:metric" of the source's day.
local USAGE_TTL_S = 31 * 86400
local function count(usage_key, worker, metric, by)
    -- An error is ignored: a figure that cannot be counted must not cost the answer, or the slot that was taken.
    if redis.pcall('HINCRBY', usage_key, worker .. ':' .. metric, by or 1) == (by or 1) then
        redis.call('EXPIRE', usage_key, USAGE_TTL_S)
    end
end

-- Records how `many` fetches ended: with a failure of that `kind`, or well where it is ''. Failures stay on record
-- until a fetch goes well. That a symbol does not exist is an answer like any other.
local MOST_KINDS = 200  -- characters
local function record_end(state_key, now, kind, many)
    if kind == '' or kind == 'not_found' then
        redis.call('HDEL', state_key, 'failing')
        return
    end
    local recorded = redis.call('HGET', state_key, 'failing') or ''
    local since, before, kinds = string.match(recorded, '^(%d+) (%d+) (%S+)$')
    kinds = kinds or kind
    if not string.find(',' .. kinds .. ',', ',' .. kind .. ',', 1, true) and #kinds < MOST_KINDS then
        kinds = kinds .. ',' .. kind
    end
    since, many = since or int(now), int((tonumber(before) or 0) + many)
    redis.call('HSET', state_key, 'failing', since .. ' ' .. many .. ' ' .. kinds)
    redis.call('PEXPIRE', state_key, STATE_TTL_MS)
end
