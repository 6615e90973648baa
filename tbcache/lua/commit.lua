--@include slots
-- commit: the answer to a held slot is in.
-- KEYS  1 slots      ARGV  1 slot id   2 cost in slots      Replies nothing.
commit(KEYS[1], server_time(), ARGV[1], tonumber(ARGV[2]))
