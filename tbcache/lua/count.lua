--@include slots
-- count: adds a batch of figures counted away from Redis, exactly once.
--
-- KEYS  1 usage   HASH of the source's UTC day    2 batch   STRING, a mark that it has come
-- ARGV  1 worker  then metric, by, metric, by, ...
-- Replies 1, or 0 when this batch was counted before.
if not redis.call('SET', KEYS[2], '1', 'NX', 'EX', 86400) then
    return 0
end
for i = 2, #ARGV, 2 do
    local metric, by = ARGV[i], tonumber(ARGV[i + 1])
    if metric == 'cost' then
        -- What was paid while Redis was away, or for a request made elsewhere, is spent as well.
        pay(KEYS[1], ARGV[1], by)
    else
        count(KEYS[1], ARGV[1], metric, by)
    end
end
return 1
