--@include slots
-- release: the slots were not used.
-- KEYS  slots   (see slots.lua)
-- ARGV  id, cost   in slots
-- Replies nothing.
release(slots, id, cost)
