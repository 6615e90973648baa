--@include number
--@include notice
-- reopen: a source that its upstream closed is asked again. Every slot stays.
-- KEYS  state   (see state.lua)
-- Replies 1 when it was closed, else 0.
local was_closed = moment(redis.call('HGET', state, 'closed_until')) > server_time()
redis.call('HDEL', state, 'closed_until', 'closed_reason', 'strikes')
tell(state, ' 0 ')
return was_closed and 1 or 0
