--@include slots
-- reopen: a source that its upstream closed is asked again. Every slot stays.
-- KEYS  1 state   (see slots.lua)      Replies 1 when it was closed, else 0.
local was_closed = tonumber(redis.call('HGET', KEYS[1], 'closed_until') or 0) > server_time()
redis.call('HDEL', KEYS[1], 'closed_until', 'closed_reason', 'strikes')
tell(KEYS[1], ' 0 ')
return was_closed and 1 or 0
