--@include slots
--@include queue
-- enqueue: queues a job, or joins the one that is queued for the same fetch.
--
-- ARGV  1 job id   2 message   3 fetch key, "" to queue it whatever is there
--       4 lane "interactive" | "prewarm"   5 delay (us)
-- Replies {job id in force, 1 when it is new}.
local id, message, key, lane, delay = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

if key ~= '' then
    local queued = redis.call('HGET', pending, key)
    if queued and redis.call('HEXISTS', jobs, queued) == 1 then
        -- Somebody waits for it now: it leaves the pre-warm's lane, and its delay.
        if lane == 'interactive' and redis.call('HGET', lanes, queued) == 'prewarm' then
            redis.call('HSET', lanes, queued, 'interactive')
            local waiting = redis.call('LREM', prewarm, 1, queued) + redis.call('ZREM', delayed, queued)
            if waiting > 0 then
                redis.call('RPUSH', interactive, queued)
                ring()
                keep()
            end
        end
        return {queued, 0}
    end
    redis.call('HSET', pending, key, id)
    redis.call('HSET', fetch_keys, id, key)
end
redis.call('HSET', jobs, id, message)
redis.call('HSET', lanes, id, lane)
if delay > 0 then
    redis.call('ZADD', delayed, int(server_time() + delay), id)
else
    redis.call('RPUSH', lane == 'prewarm' and prewarm or interactive, id)
    ring()
end
keep()
return {id, 1}
