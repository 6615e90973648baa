--@include number
--@include notice
-- reopen: opens a source that its upstream has closed. All slots stay in the window.
-- KEYS  state   (see state.lua)
-- Replies 1 where it was closed, else 0.
local was_closed = moment(redis.call('HGET', state, 'closed_until')) > server_time()
redis.call('HDEL', state, 'closed_until', 'closed_reason', 'strikes')
tell(state, ' 0 ')
return was_closed and 1 or 0
