--@include number
--@include figure
-- minute: records the figures of a source's day as they are when a minute begins, and how much of it is queued. The
-- figures of any span of minutes are differences of these, so that nothing has to be counted twice.
--
-- KEYS  usage    HASH  of the source's UTC day, "worker:metric" -> count
--       minutes  HASH  minute since the Unix epoch -> "day metric=count,...", the sums over the workers; before them
--                      the jobs of the queue: queue.waiting, queue.delayed, queue.running, queue.dead
--       interactive, prewarm, suspects, delayed, claims, dead  (see queue.lua)
-- ARGV  day      of `usage`, since the Unix epoch
--       kept     how many minutes are kept
-- Replies 1; 0 where this minute was recorded before.
local minute = math.floor(server_time() / 60000000)
if redis.call('HEXISTS', minutes, int(minute)) == 1 then
    return 0
end

-- A key of another type counts as empty.
local function size(key)
    local found = redis.pcall('ZCARD', key)
    return type(found) == 'number' and found or 0
end

local parts = {
    'queue.waiting=' .. int(size(interactive) + size(prewarm) + size(suspects)),
    'queue.delayed=' .. int(size(delayed)),
    'queue.running=' .. int(size(claims)),
    'queue.dead=' .. int(size(dead)),
}
local sums = {}
add_figures(sums, redis.call('HGETALL', usage))
for metric, count in pairs(sums) do
    table.insert(parts, metric .. '=' .. int(count))
end
redis.call('HSET', minutes, int(minute), int(day) .. ' ' .. table.concat(parts, ','))

-- Only the names: the values are half a megabyte where a busy source is kept for a day.
local over = {}
for _, field in ipairs(redis.call('HKEYS', minutes)) do
    if (tonumber(field) or 0) <= minute - kept then
        table.insert(over, field)
    end
end
-- Lua gives a call at most some thousand arguments at once.
for i = 1, #over, 1000 do
    redis.call('HDEL', minutes, unpack(over, i, math.min(i + 999, #over)))
end
redis.call('PEXPIRE', minutes, kept * 60000)
return 1
