--@include slots
-- minute: keeps what the day's figures of a source were when a minute began, so that those of the
-- last minutes can be told without a second count of everything.
--
-- KEYS  1 usage     HASH  of the source's UTC day, "worker:metric" -> count
--       2 minutes   HASH  minute since the epoch -> "day metric=count,...", the sums over the workers
-- ARGV  1 day since the epoch that KEYS[1] is of   2 how many minutes are kept
-- Replies 1; 0 where this minute is there already.
local minute = math.floor(server_time() / 60000000)
if redis.call('HEXISTS', KEYS[2], int(minute)) == 1 then
    return 0
end

local sums, figures, parts = {}, redis.call('HGETALL', KEYS[1]), {}
for i = 1, #figures, 2 do
    local metric, count = string.match(figures[i], ':([%w_.]+)$'), string.match(figures[i + 1], '^%d+$')
    if metric and count and #count <= 15 then
        sums[metric] = (sums[metric] or 0) + tonumber(count)
    end
end
for metric, count in pairs(sums) do
    table.insert(parts, metric .. '=' .. int(count))
end
redis.call('HSET', KEYS[2], int(minute), ARGV[1] .. ' ' .. table.concat(parts, ','))

local kept = tonumber(ARGV[2])
local minutes = redis.call('HGETALL', KEYS[2])
for i = 1, #minutes, 2 do
    if (tonumber(minutes[i]) or 0) <= minute - kept then
        redis.call('HDEL', KEYS[2], minutes[i])
    end
end
redis.call('PEXPIRE', KEYS[2], kept * 60000)
return 1
