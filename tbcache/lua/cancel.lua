--@include number
--@include wake
--@include envelope
--@include queue
-- cancel: takes jobs out of their queue for good: those that wait, are put off, or are in a worker's hands. The worker is
-- told that its job is over as it renews the claim.
--
-- KEYS  queue    (see queue.lua)
-- ARGV  result   for those who wait for one of them (JSON)
--       stops_running   whether one that a worker has in hand is stopped
--       ids      of the jobs
-- Replies of each: "done" | "stopping": a worker is told to stop it | "running": a worker has it, and goes on | "gone"
local now = server_time()

local function cancel(id)
    if redis.call('HEXISTS', jobs, id) == 0 then
        return 'gone'
    end
    local key = redis.call('HGET', keys, id)
    local is_next = key and redis.call('HGET', pending, '+' .. key) == id
    local state = 'done'
    if take_out(interactive, id) + take_out(prewarm, id) > 0 then
        -- What waits in no lane is on no account, or has had its turn.
        refund(id)
    elseif take_away(id) == 0 and not is_next then
        if not stops_running then
            return 'running'
        end
        state = 'stopping'
        revoke(id, now)
    end
    answer(id, result)
    forget({id}, now)
    return state
end

local replies = {}
for i, id in ipairs(ids) do
    replies[i] = cancel(id)
end
return replies
