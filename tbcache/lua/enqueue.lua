--@include number
--@include wake
--@include envelope
--@include queue
-- enqueue: queues a job, or joins the one that is queued for the same fetch. One whose answer
-- is in the cache goes before all others: it needs no slot. A job whose name is taken by another, as where a
-- message is sent again while it runs, has one of its own.
--
-- KEYS  queue     (see queue.lua)
--       clears    the log of clears (see clear.lua)
-- ARGV  id        of the job
--       message
--       key       of the fetch; "" to queue it whatever is there
--       lane      "interactive" | "prewarm"
--       delay_us
--       charge    "fetch" | "request": then it needs a slot all the same
-- Replies  id, is_new   of the job in force
local now, cleared = server_time(), last_clear(clears)

local function needs_no_slot(words)
    return charge == 'fetch' and is_answered(key, words, cleared, now)
end

local function put(job, is_first)
    if is_first then
        put_in_front(place_of(job), job)
    else
        put_in(place_of(job), job, now)
    end
end

if key ~= '' then
    local queued = redis.call('HGET', pending, key)
    local words = queued and redis.call('HGET', jobs, queued)
    if words then
        -- Somebody waits for it now: it leaves the pre-warm's lane, and its delay.
        local is_lifted = lane == 'interactive' and redis.call('HGET', lanes, queued) == 'prewarm'
        local is_first = needs_no_slot(words)
        if is_lifted then
            redis.call('HSET', lanes, queued, 'interactive')
        end
        if is_lifted or is_first then
            local waiting = take_out(prewarm, queued) + take_out(interactive, queued)
                + redis.call('ZREM', delayed, queued)
            if waiting > 0 then
                put(queued, is_first)
                notify_worker()
                renew_ttls()
            end
        end
        return reply_queued(queued, false)
    end
    redis.call('HSET', pending, key, id)
    redis.call('HSET', keys, id, key)
end
while key == '' and redis.call('HEXISTS', jobs, id) == 1 do
    id = id .. '+'
end
redis.call('HSET', jobs, id, message)
redis.call('HSET', lanes, id, lane)
if delay_us > 0 then
    put_off(id, now + delay_us)
else
    put(id, needs_no_slot(message))
    notify_worker()
end
renew_ttls()
return reply_queued(id, true)
