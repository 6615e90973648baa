--@include number
-- lease: who loads a key, and until when.

-- The end of a lease (us). Its length is known from when it was taken or renewed, and it never ends later than so
-- long from now: where the server's clock was set back, those who wait for a dead loader would wait for as much more.
local function lease_until(lease_key, stored_until, length, now)
    local ends_at = moment(stored_until)
    local latest = now + (tonumber(length or nil) or ends_at)
    if ends_at > latest then
        redis.call('HSET', lease_key, 'until', int(latest))
        return latest
    end
    return ends_at
end

-- Records until when it holds, and for how long from now, and whatever else is to be written with it.
local function renew_lease(lease_key, ends_at, length, ...)
    redis.call('HSET', lease_key, 'until', ends_at, 'length', length, ...)
end
