--@include number
-- slot: the end of one.

-- Lowers the stamps of a slot to now; never raises one.
local function commit(slots_key, now, id, cost)
    for unit = 1, cost do
        redis.call('ZADD', slots_key, 'XX', 'LT', int(now), unit == 1 and id or id .. '#' .. unit)
    end
end

-- Has a slot that is held be held until then; never lowers a stamp.
local function extend(slots_key, stamp, id, cost)
    for unit = 1, cost do
        redis.call('ZADD', slots_key, 'XX', 'GT', int(stamp), unit == 1 and id or id .. '#' .. unit)
    end
end

local function release(slots_key, id, cost)
    for unit = 1, cost do
        redis.call('ZREM', slots_key, unit == 1 and id or id .. '#' .. unit)
    end
end

-- Has a key live for at least so long: who knows of shorter windows alone must not end it before its time.
-- (PEXPIRE with GT leaves a new key without an end.) It lives a little longer, so that not each of many has to do this.
local KEPT_MS = 2000
local function expire_after(key, ms)
    if redis.call('PTTL', key) < ms then
        redis.call('PEXPIRE', key, int(ms + KEPT_MS))
    end
end
