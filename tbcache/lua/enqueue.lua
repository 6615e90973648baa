--@include number
--@include wake
--@include envelope
--@include queue
-- enqueue: queues a job, or joins the one that is queued for the same fetch. One whose answer
-- is in the cache goes before all others: it needs no slot. Who joins a job has it at the better of two places: where
-- it is, or where a job of their own would be; then it is on their account as well. A job whose name is taken by another, as where a
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
--       caller    on whose account it is; "" for nobody's
--       stride    how far apart the caller's places in a lane are (see queue.lua)
-- Replies  id, is_new   of the job in force
local now, cleared = server_time(), last_clear(clears)

local function needs_no_slot(words)
    return charge == 'fetch' and is_answered(key, words, cleared, now)
end

local account = lane .. ' ' .. int(stride) .. ' ' .. caller
local in_lane = lane == 'prewarm' and prewarm or interactive

-- A job that waits in the asker's lane.
local function bring_forward(job)
    local place = redis.call('ZSCORE', in_lane, job)
    if place and next_place(in_lane, caller) < tonumber(place) then
        redis.call('HSET', lanes, job, account)
        give_place(in_lane, job, stride, caller)
    end
end

if key ~= '' then
    local queued = redis.call('HGET', pending, key)
    local words = queued and redis.call('HGET', jobs, queued)
    if words then
        -- Somebody waits for it now: it leaves the pre-warm's lane, and its delay.
        local is_lifted = lane == 'interactive' and account_of(queued) == prewarm
        local is_first = needs_no_slot(words)
        if is_lifted then
            redis.call('HSET', lanes, queued, account)
        end
        if is_lifted or is_first then
            local waiting = take_out(prewarm, queued) + take_out(interactive, queued)
                + redis.call('ZREM', delayed, queued)
            if waiting > 0 then
                if is_first then
                    put_in_front(queued)
                else
                    put_in(queued, now)
                end
                notify_worker()
                renew_ttls()
            end
        else
            bring_forward(queued)
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
redis.call('HSET', lanes, id, account)
if delay_us > 0 then
    put_off(id, now + delay_us)
else
    if needs_no_slot(message) then
        put_in_front(id)
    else
        give_place(in_lane, id, stride, caller)
    end
    notify_worker()
end
renew_ttls()
return reply_queued(id, true)
