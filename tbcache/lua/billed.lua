--@include budget
-- billed: bills items that a process has read while Redis was away, and that are billed once a day. Each batch counts
-- exactly once, even if it is sent twice.
--
-- KEYS  usage   HASH of the source's UTC day
--       batch   STRING, which marks that the batch has come
--       billed  SET     of the ids that were billed on that day
-- ARGV  worker
--       budget  of the day (millionths of a dollar; 0: none)
--       once    id, price (millionths of a dollar), ...
-- Replies 1, or 0 when this batch was billed before.
if not redis.call('SET', batch, '1', 'NX', 'EX', 86400) then
    return 0
end
bill(usage, billed, server_time(), worker, budget, 0, once)
return 1
