--@include slot
-- commit: the answer to a held slot is in.
-- KEYS  slots   (see state.lua)
-- ARGV  id, cost   in slots
-- Replies nothing.
commit(slots, server_time(), id, cost)
