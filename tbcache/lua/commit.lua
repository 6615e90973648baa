--@include slots
-- commit: the answer to a held slot is in.
-- KEYS  slots   (see slots.lua)
-- ARGV  id, cost   in slots
-- Replies nothing.
commit(slots, server_time(), id, cost)
