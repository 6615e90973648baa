--@include slots
--@include fleet
-- leave: a process that is over gives its share of the source's limits back.
--
-- KEYS  1 state   2 fleet   (see slots.lua)
-- ARGV  1 process
--       2 "clean" when all that it sent is known here; "" for one that was found dead and may
--         have sent more, without Redis   3 lease (us)
--       4 for how long (us) a slot of it stays in a window; "" where that is not known
-- Replies 0 when it is forgotten, or the moment (us) until which its share is kept.
local process, now = ARGV[1], server_time()
local lease = longest_lease(KEYS[1], ARGV[3])
local gone_at = ARGV[4] ~= '' and now + tonumber(ARGV[4]) or clear_at(KEYS[1], now, lease)
-- One without a share sends nothing without Redis.
if ARGV[2] == '' and redis.call('HEXISTS', KEYS[1], 'share:' .. process) == 1 then
    redis.call('HSETNX', KEYS[1], 'died:' .. process, int(now))
    local died_at = tonumber(redis.call('HGET', KEYS[1], 'died:' .. process))
    gone_at = clear_at(KEYS[1], died_at, lease)
    if now < gone_at then
        return int(gone_at)
    end
end
forget(KEYS[1], KEYS[2], process, gone_at)
redis.call('PEXPIRE', KEYS[1], STATE_TTL_MS)
agree(KEYS[1], KEYS[2])
return 0
