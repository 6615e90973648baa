--@include slot
-- release: the slots were not used.
-- KEYS  slots   (see state.lua)
-- ARGV  id, cost   in slots
-- Replies nothing.
release(slots, id, cost)
