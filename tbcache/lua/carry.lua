--@include number
--@include figure
-- carry: adds the figures of days that are over to the totals of a source, each day once.
--
-- KEYS  totals   HASH  metric -> count, the sums over all workers and carried days; "day": the last of these
--       days     HASHes of successive UTC days, "worker:metric" -> count
-- ARGV  day      the last of `days`, since the Unix epoch
-- Replies 1; 0 where that day was carried before.
local MOST_FIGURE = 2 ^ 53
local TTL_S = 29 * 86400  -- shorter than a day's figures are kept: none is missed, or all begins anew
local carried = bounded(redis.call('HGET', totals, 'day'), 0, MOST_FIGURE)
-- Of the totals that begin now, and of those that a clock has carried into the future, no past day is a part.
if not carried or carried > day + 1 then
    redis.call('UNLINK', totals)
    redis.call('HSET', totals, 'day', int(day + 1))
    redis.call('EXPIRE', totals, TTL_S)
    return 1
end
if carried >= day then
    return 0
end

local sums = {}
for at, usage in ipairs(days) do
    if day - #days + at > carried then
        add_figures(sums, redis.pcall('HGETALL', usage))
    end
end
for metric, sum in pairs(sums) do
    redis.call('HSET', totals, metric, int(bounded(redis.call('HGET', totals, metric), 0, MOST_FIGURE, 0) + sum))
end
redis.call('HSET', totals, 'day', int(day))
redis.call('EXPIRE', totals, TTL_S)
return 1
