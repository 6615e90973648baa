--@include place
-- answered: tells the queue of a source that the cache has the answer of a fetch by now. Where a job of that fetch waits,
-- it needs no slot any more: dequeue.lua has it go before all others.
--
-- Included; its keys are the script's: pending, answered and bell of that queue (see queue.lua).
local function tell_queue(entry)
    local tag, rest = string.match(entry, ':cache:{(.-)}(.*)$')
    local key = tag .. rest
    -- A damaged part of the queue keeps no answer from being stored.
    local job = redis.pcall('HMGET', pending, key, '@' .. key)
    if job.err or not job[1] or job[2] or type(redis.pcall('ZADD', answered, 0, job[1])) ~= 'number' then
        return
    end
    redis.call('EXPIRE', answered, QUEUE_TTL_S)
    if redis.pcall('LLEN', bell) == 0 then
        redis.call('RPUSH', bell, '1')
        redis.call('EXPIRE', bell, 60)
    end
end
