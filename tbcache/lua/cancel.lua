--@include number
--@include wake
--@include envelope
--@include queue
-- cancel: takes a job out of its queue for good: one that waits, is put off, or is in a worker's hands. The worker is
-- told that this one is over as it renews its claim.
--
-- KEYS  queue    (see queue.lua)
-- ARGV  id       of the job
--       result   for those who wait for it (JSON)
--       stops_running   whether one that a worker has in hand is stopped
-- Replies  state   "done" | "stopping": a worker is told to stop it | "running": a worker has it, and goes on | "gone"
local now = server_time()
if redis.call('HEXISTS', jobs, id) == 0 then
    return reply_moved('gone')
end
local key = redis.call('HGET', keys, id)
local is_next = key and redis.call('HGET', pending, '+' .. key) == id
local state = 'done'
if take_out(interactive, id) + take_out(prewarm, id) > 0 then
    -- What waits in no lane is on no account, or has had its turn.
    refund(id)
elseif take_away(id) == 0 and not is_next then
    if not stops_running then
        return reply_moved('running')
    end
    state = 'stopping'
    revoke(id, now)
end
answer(id, result)
forget({id}, now)
return reply_moved(state)
