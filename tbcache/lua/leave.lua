-- leave: processes that are over give their share of the source's limits back.
-- KEYS  1 state   2 fleet   (see slots.lua)      ARGV  the processes      Replies nothing.
for _, process in ipairs(ARGV) do
    redis.call('ZREM', KEYS[2], process)
    redis.call('HDEL', KEYS[1], 'share:' .. process, 'rooms:' .. process)
end
