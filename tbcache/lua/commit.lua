--@include slot
-- commit: the answer to what was sent with a held slot has come.
-- KEYS  slots   (see state.lua)
-- ARGV  id, cost   in slots
-- Replies nothing.
commit(slots, server_time(), id, cost)
