--@include number
--@include wake
--@include envelope
--@include queue
-- cancel: takes a job that waits, also one that is put off, out of its queue for good. One that is in a worker's hands
-- is left alone.
--
-- KEYS  queue    (see queue.lua)
-- ARGV  id       of the job
--       result   for those who wait for it (JSON)
-- Replies  state   "done" | "running" | "gone"
if redis.call('HEXISTS', jobs, id) == 0 then
    return reply_moved('gone')
end
local key = redis.call('HGET', keys, id)
local is_next = key and redis.call('HGET', pending, '+' .. key) == id
if take_away(id) == 0 and not is_next then
    return reply_moved('running')
end
refund(id)
answer(id, result)
forget({id}, server_time())
return reply_moved('done')
