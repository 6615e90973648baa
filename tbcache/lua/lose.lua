--@include slots
-- lose: gives a window up whose stamps can no longer be trusted: the server's clock jumped.
-- Every process then puts back its own slots by its own clock (restore.lua).
--
-- KEYS  1 slots   2 state   (see slots.lua)
-- ARGV  1 epoch the asker has seen   2 name for a new epoch
-- Replies 1, or 0 when another process was first.
if redis.call('HGET', KEYS[2], 'epoch') ~= ARGV[1] then
    return 0
end
redis.call('DEL', KEYS[1])
lose(KEYS[2], server_time(), ARGV[1])
redis.call('HSET', KEYS[2], 'epoch', ARGV[2])
return 1
