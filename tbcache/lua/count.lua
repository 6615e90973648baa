--@include budget
-- count: adds a batch of figures that a process has counted itself, exactly once even if it is sent twice.
--
-- KEYS  usage    HASH of the source's UTC day
--       batch    STRING, which marks that the batch has come
--       state    (see state.lua)
-- ARGV  worker
--       budget   of the day (millionths of a dollar; 0: none)
--       figures  metric, by, metric, by, ...; "ended" is not counted as a figure, but says that so many
--                requests without a latency are over
-- Replies 1, or 0 when this batch was counted before.
if not redis.call('SET', batch, '1', 'NX', 'EX', 86400) then
    return 0
end
local now, answered, failures = server_time(), 0, {}
for i = 1, #figures, 2 do
    local metric, by = figures[i], tonumber(figures[i + 1])
    if metric == 'cost' then
        -- Money that was paid while Redis was away, or for a request made elsewhere, comes off the budget as well.
        pay(usage, now, worker, budget, by)
    elseif metric ~= 'ended' then
        count(usage, worker, metric, by)
    end
    local kind = string.match(metric, '^error%.([%w_]+)$')
    if kind then
        failures[kind] = by
        answered = answered - by
    elseif string.find(metric, '^ms%d') or metric == 'ended' then
        -- Each fetch that is over has a latency. A request that was only recorded says itself that it is over.
        answered = answered + by
    end
end
-- The order in which the requests ended is unknown. If any succeeded, the last one may have.
if answered > 0 then
    record_end(state, now, '', answered)
else
    for kind, many in pairs(failures) do
        record_end(state, now, kind, many)
    end
end
return 1
