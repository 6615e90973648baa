--@include number
--@include wake
--@include envelope
--@include queue
-- promote: puts a job that waits, also one that is put off, in front of its lane.
--
-- KEYS  queue    (see queue.lua)
-- ARGV  id       of the job
-- Replies  state   "done" | "running", or it waits for one that runs | "gone"
if redis.call('HEXISTS', jobs, id) == 0 then
    return reply_moved('gone')
end
if take_away(id) == 0 then
    return reply_moved('running')
end
put_in_front(id)
notify_worker()
renew_ttls()
return reply_moved('done')
