--@include number
-- minute: records the figures of a source's day as they are when a minute begins. The figures of the last minutes are
-- differences of these, so that nothing has to be counted twice.
--
-- KEYS  usage    HASH  of the source's UTC day, "worker:metric" -> count
--       minutes  HASH  minute since the Unix epoch -> "day metric=count,...", the sums over the workers
-- ARGV  day      of `usage`, since the Unix epoch
--       kept     how many minutes are kept
-- Replies 1; 0 where this minute was recorded before.
local minute = math.floor(server_time() / 60000000)
if redis.call('HEXISTS', minutes, int(minute)) == 1 then
    return 0
end

local sums, figures, parts = {}, redis.call('HGETALL', usage), {}
for i = 1, #figures, 2 do
    local metric, count = string.match(figures[i], ':([%w_.]+)$'), string.match(figures[i + 1], '^%d+$')
    if metric and count and #count <= 15 then
        sums[metric] = (sums[metric] or 0) + tonumber(count)
    end
end
for metric, count in pairs(sums) do
    table.insert(parts, metric .. '=' .. int(count))
end
redis.call('HSET', minutes, int(minute), int(day) .. ' ' .. table.concat(parts, ','))

local all = redis.call('HGETALL', minutes)
for i = 1, #all, 2 do
    if (tonumber(all[i]) or 0) <= minute - kept then
        redis.call('HDEL', minutes, all[i])
    end
end
redis.call('PEXPIRE', minutes, kept * 60000)
return 1
