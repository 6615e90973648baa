--@include number
-- slot: ends a slot, or has it held for longer.

-- Lowers the stamps of a slot to now. It never raises one.
local function commit(slots_key, now, id, cost)
    for unit = 1, cost do
        redis.call('ZADD', slots_key, 'XX', 'LT', int(now), unit == 1 and id or id .. '#' .. unit)
    end
end

-- Raises the stamps of a held slot to `stamp`, the new end of its hold. It never lowers one.
local function extend(slots_key, stamp, id, cost)
    for unit = 1, cost do
        redis.call('ZADD', slots_key, 'XX', 'GT', int(stamp), unit == 1 and id or id .. '#' .. unit)
    end
end

-- Whether a slot is there, and neither committed nor over.
local function still_held(slots_key, now, id)
    return moment(redis.call('ZSCORE', slots_key, id)) > now
end

local function release(slots_key, id, cost)
    for unit = 1, cost do
        redis.call('ZREM', slots_key, unit == 1 and id or id .. '#' .. unit)
    end
end

-- Has a key live for at least `ms`. A process that knows of shorter windows only must not shorten its life. (PEXPIRE
-- with GT would leave a new key without a TTL.) It lives a little longer than that, so that of many asks in a row only
-- the first has to set it.
local KEPT_MS = 2000
local function expire_after(key, ms)
    if redis.call('PTTL', key) < ms then
        redis.call('PEXPIRE', key, int(ms + KEPT_MS))
    end
end

-- Has the slots live for as long as they count (`ms`), and for longer after that than the record of the fleet does, which is
-- a day. So where the server's clock is set forward until they come to their end, that has come to its own, and is missed.
local SPARE_MS = 25 * HOUR_US / 1000
local function keep_slots(slots_key, ms)
    expire_after(slots_key, ms + SPARE_MS)
end
