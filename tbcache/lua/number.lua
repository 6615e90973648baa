-- number: writes and reads numbers and moments as Redis holds them. Lua by itself would write 1.7e15.

local MINUTE_US = 60000000
local HOUR_US = 3600000000

-- Formats a number without a fraction. Most are whole already, and '%d' takes half as long as '%.0f'.
local function int(number)
    local is_integer = number % 1 == 0 and number < 2 ^ 53 and number > -(2 ^ 53)
    return string.format(is_integer and '%d' or '%.0f', number)
end

-- Reads a number that Redis holds, which its reader knows to lie between two bounds. What does not (nan, inf, any other
-- text) counts as `otherwise`: nothing that Redis holds may get into a sum unread.
local function bounded(text, least, most, otherwise)
    local found = tonumber(text or nil)
    return found and found >= least and found <= most and found or otherwise
end

-- Reads how much of a limit of `most` is meant. Who wrote it may have gone by a larger limit: then all of it is.
local function part_of(text, most)
    return math.min(bounded(text, 0, MOST_SLOTS, 0), most)
end

-- Reads a moment (us). A damaged one counts as 0, and so does one later than `latest`, or than any calendar reaches.
local LAST_MOMENT = 250000000000000000
local function moment(text, latest)
    return bounded(text, 0, latest or LAST_MOMENT, 0)
end

-- Writes a field of a hash where it is another: what is written goes to the disk, and to the replicas.
local function put(key, field, value)
    if redis.call('HGET', key, field) ~= tostring(value) then
        redis.call('HSET', key, field, value)
    end
end

-- Has a key live for so long, within an hour.
local function renew(key, ttl_ms)
    if redis.call('PTTL', key) < ttl_ms - 3600000 then
        redis.call('PEXPIRE', key, ttl_ms)
    end
end

local function server_time()
    local clock = redis.call('TIME')
    return clock[1] * 1000000 + clock[2]
end
