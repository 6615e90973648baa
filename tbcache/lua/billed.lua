--@include budget
-- billed: bills what was read away from Redis of what is billed once a day, exactly once.
--
-- KEYS  usage   HASH of the source's UTC day
--       batch   STRING, a mark that it has come
--       billed  SET     ids billed on that day
-- ARGV  worker
--       budget  the day's (millionths of a dollar; 0: none)
--       once    id, price (millionths of a dollar), ...
-- Replies 1, or 0 when this batch was billed before.
if not redis.call('SET', batch, '1', 'NX', 'EX', 86400) then
    return 0
end
bill(usage, billed, server_time(), worker, budget, 0, once)
return 1
