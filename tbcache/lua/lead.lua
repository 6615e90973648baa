--@include token
-- lead: takes or renews a lease, or gives it back. Each time that it is taken it comes with a higher token, which
-- whatever the holder writes is to carry: so the writes of one that stood still, and is followed by another, are told
-- from those of the other.
-- KEYS  lease     STRING, the token and the holder's name
-- ARGV  name
--       lease_ms  for how long; 0: give it back
--       above     the token is to be higher: there was one of a later moment, before the clock was set back
-- Replies the token when the lease is the asker's, else 0.
-- What has another type, or no end, is nobody's lease: this script gives each an end. One that ends later than it can
-- have been given is over too: the server's clock was set back, or the key is damaged.
local found = redis.pcall('GET', lease)
local left_ms = redis.call('PTTL', lease)
local is_lease = type(found) == 'string' and left_ms > 0 and (lease_ms == 0 or left_ms <= lease_ms)
local token, holder = string.match(is_lease and found or '', '^(%d+) (.*)$')
if holder and holder ~= name then
    return 0
end
if lease_ms == 0 then
    redis.call('UNLINK', lease)
    return 0
end
token = bounded(token, 0, MOST_TOKEN, 0)
if token <= above then
    token = math.max(server_time(), above + 1)
end
redis.call('SET', lease, int(token) .. ' ' .. name, 'PX', lease_ms)
return int(token)
