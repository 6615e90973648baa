--@include slots
-- restore: puts back the slots a process took while Redis was away, or that Redis lost.
--
-- KEYS  1 slots   2 state   (see slots.lua)
-- ARGV  1 horizon (us)   then slot id, age (us; negative while it is held), ...
-- Replies how many were new. A slot known already is left alone: its stamp here is at
-- least as exact as the asker's.
local now = server_time()
local added, horizon = 0, tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
    added = added + redis.call('ZADD', KEYS[1], 'NX', int(now - tonumber(ARGV[i + 1])), ARGV[i])
end
if horizon > tonumber(redis.call('HGET', KEYS[2], 'horizon') or 0) then
    redis.call('HSET', KEYS[2], 'horizon', int(horizon))
    redis.call('PEXPIRE', KEYS[2], STATE_TTL_MS)
end
redis.call('PEXPIRE', KEYS[1], int(horizon / 1000 + 60000))
return added
