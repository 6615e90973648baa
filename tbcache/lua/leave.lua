--@include slots
--@include fleet
-- leave: a process that is over gives its share of the source's limits back.
--
-- KEYS  1 state   2 fleet   (see slots.lua)
-- ARGV  1 process
--       2 "clean" when all that it sent is known here; "" for one that was found dead and may
--         have sent more, without Redis   3 lease (us)
-- Replies 0 when it is forgotten, or the moment (us) until which its share is kept.
local process = ARGV[1]
-- One without a share sends nothing without Redis.
if ARGV[2] == '' and redis.call('HEXISTS', KEYS[1], 'share:' .. process) == 1 then
    local now = server_time()
    redis.call('HSETNX', KEYS[1], 'died:' .. process, int(now))
    local died_at = tonumber(redis.call('HGET', KEYS[1], 'died:' .. process))
    local kept_until = clear_at(KEYS[1], died_at, tonumber(ARGV[3]))
    if now < kept_until then
        return int(kept_until)
    end
end
forget(KEYS[1], KEYS[2], process)
agree(KEYS[1], KEYS[2])
return 0
