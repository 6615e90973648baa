--@include number
--@include place
--@include bell
--@include stop
--@include late
-- send: queues one job that is no fetch, and may go at once. enqueue.lua does the same of any jobs; this one takes a
-- quarter of its time, as it knows of a few parts of the queue alone.
--
-- KEYS  interactive, interactive_tags, jobs, lanes, bell     parts of the queue (see queue.lua)
--       state      of the source or the queue (see state.lua)
-- ARGV  id, message
--       caller     on whose account the job is; "" for nobody's
--       stride     how far apart the caller's places in a lane are (see queue.lua)
--       is_follow_up   a job that runs sends it, as part of what was accepted before
--       asked_us       when it was asked, at the earliest, by the server's time
--       deadline_us    0: none (see late.lua)
-- Replies  state, word    "queued" and the id in force, "refused" and why, or "late" and the server's time; or "left" to
--                    enqueue.lua, as the queue is of an earlier layout, which that takes over

local now = server_time()
if is_late(now, asked_us, deadline_us) then
    return reply_sent('late', int(now))
end
local stop, refusal = stopped_by(redis.call('HGET', state, 'order'), not is_follow_up)
if stop == 'drained' then
    return reply_sent('refused', refusal)
end
-- Of an earlier layout, or damaged: nothing is changed yet.
if type(redis.pcall('ZCARD', interactive)) ~= 'number' then
    return reply_sent('left', '')
end
-- A key of another type ends it here, before anything is changed.
local tags, known = redis.call('ZCARD', interactive_tags), redis.call('HLEN', jobs)

while redis.call('HSETNX', lanes, id, account_in('interactive', stride, caller)) == 0 do
    -- A message that is sent again while it runs.
    id = id .. '+'
end
give_places(interactive, interactive_tags, {id}, stride, caller)
redis.call('HSET', jobs, id, message)
-- What was not there is made anew, without its TTL.
if tags == 0 or known == 0 or redis.call('PTTL', interactive) < (QUEUE_TTL_S - 3600) * 1000 then
    for _, part in ipairs({interactive, interactive_tags, jobs, lanes}) do
        redis.call('EXPIRE', part, QUEUE_TTL_S)
    end
end
notify_worker()
return reply_sent('queued', id)
