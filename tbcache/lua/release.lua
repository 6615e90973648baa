--@include slots
-- release: the slots were not used.
-- KEYS  1 slots   (see slots.lua)      ARGV  1 slot id   2 cost in slots      Replies nothing.
release(KEYS[1], ARGV[1], tonumber(ARGV[2]))
