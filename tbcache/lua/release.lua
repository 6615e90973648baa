--@include slot
-- release: gives slots back with which nothing was sent.
-- KEYS  slots   (see state.lua)
-- ARGV  id, cost   in slots
-- Replies nothing.
release(slots, id, cost)
