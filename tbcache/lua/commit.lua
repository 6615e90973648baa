--@include slot
-- commit: the answer to what was sent with a held slot has come.
-- KEYS  slots   (see state.lua)
-- ARGV  id, cost     in slots
--       asked_us     the time is later, unless the clock was set back
-- Replies nothing.
commit(slots, math.max(server_time(), asked_us), id, cost)
