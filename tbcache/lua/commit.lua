--@include slots
-- commit: the answer to a held slot is in.
-- KEYS  1 slots      ARGV  1 slot id   2 cost in slots      Replies the server's time (us).
local now = server_time()
commit(KEYS[1], now, ARGV[1], tonumber(ARGV[2]))
return int(now)
