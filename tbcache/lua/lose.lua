--@include epoch
-- lose: gives a window up whose stamps can no longer be trusted: the server's clock jumped.
-- Every process then puts back its own slots by its own clock (restore.lua).
--
-- KEYS  slots, state   (see state.lua)
-- ARGV  seen   the epoch that the asker has seen
--       epoch  the name for a new one
-- Replies 1, or 0 when another process was first.
if redis.call('HGET', state, 'epoch') ~= seen then
    return 0
end
redis.call('DEL', slots)
lose(state, server_time(), seen)
redis.call('HSET', state, 'epoch', epoch)
return 1
