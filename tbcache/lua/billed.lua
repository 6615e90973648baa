--@include slots
-- billed: bills what was read away from Redis of what is billed once a day, exactly once.
--
-- KEYS  1 usage   HASH of the source's UTC day    2 batch   STRING, a mark that it has come
--       3 billed  SET     ids billed on that day
-- ARGV  1 worker   2 the day's budget (millionths of a dollar; 0: none)
--         then id, price (millionths of a dollar), ...
-- Replies 1, or 0 when this batch was billed before.
if not redis.call('SET', KEYS[2], '1', 'NX', 'EX', 86400) then
    return 0
end
bill(KEYS[1], KEYS[3], server_time(), ARGV[1], tonumber(ARGV[2]), 0, ARGV, 3)
return 1
