--@include number
-- lease: until when the load of a key holds its lease.

-- The end of a lease (us). Its length was stored when it was taken or renewed, and it ends no later than that long from
-- now. Otherwise, after the server's clock was set back, whoever waits for a dead loader would wait for as much longer.
local function lease_until(lease_key, stored_until, length, now)
    local ends_at = moment(stored_until)
    local latest = now + bounded(length, 0, HOUR_US, HOUR_US)
    if ends_at > latest then
        redis.call('HSET', lease_key, 'until', int(latest))
        return latest
    end
    return ends_at
end

-- Records until when the lease holds and for how long that is from now, together with other fields of it.
local function renew_lease(lease_key, ends_at, length, ...)
    redis.call('HSET', lease_key, 'until', ends_at, 'length', length, ...)
end
