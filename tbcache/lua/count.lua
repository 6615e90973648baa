--@include slots
-- count: adds a batch of figures counted away from Redis, exactly once.
--
-- KEYS  1 usage   HASH of the source's UTC day    2 batch   STRING, a mark that it has come
--       3 state   (see slots.lua)
-- ARGV  1 worker   2 the day's budget (millionths of a dollar; 0: none)
--         then metric, by, metric, by, ...
-- Replies 1, or 0 when this batch was counted before.
if not redis.call('SET', KEYS[2], '1', 'NX', 'EX', 86400) then
    return 0
end
local now, asked, settled, answered, failures = server_time(), 0, 0, 0, {}
for i = 3, #ARGV, 2 do
    local metric, by = ARGV[i], tonumber(ARGV[i + 1])
    if metric == 'cost' then
        -- What was paid while Redis was away, or for a request made elsewhere, is spent as well.
        pay(KEYS[1], now, ARGV[1], tonumber(ARGV[2]), by)
    else
        count(KEYS[1], ARGV[1], metric, by)
    end
    local kind = string.match(metric, '^error%.([%w_]+)$')
    if kind then
        failures[kind] = by
        answered = answered - by
    elseif string.find(metric, '^ms%d') then
        settled = settled + by
    elseif metric == 'go' then
        asked = by
    end
end
-- In which order they ended is not known: one that went well may have been the last. A request that
-- somebody recorded has no latency.
answered = answered + (settled > 0 and settled or asked)
if answered > 0 then
    note_end(KEYS[3], now, '', answered)
else
    for kind, many in pairs(failures) do
        note_end(KEYS[3], now, kind, many)
    end
end
return 1
