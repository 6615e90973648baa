--@include number
--@include place
--@include bell
--@include late
-- send: queues one job that is no fetch, and may go at once. enqueue.lua does the same of any jobs; this one takes a
-- quarter of its time, as it knows of a few parts of the queue alone.
--
-- KEYS  parts      of the queue: interactive, interactive_tags, jobs, lanes, bell (see queue.lua); and the state of the
--                  source or the queue (see state.lua)
-- ARGV  id, message
--       caller     on whose account the job is; "" for nobody's
--       stride     how far apart the caller's places in a lane are (see queue.lua)
--       asked_us       when it was asked, at the earliest, by the server's time
--       deadline_us    0: none (see late.lua)
-- Replies the id in force; "" where nothing is changed and it is for enqueue.lua, which says why it is late or refused, and
-- takes over a queue of an earlier layout

if is_late(server_time(), asked_us, deadline_us) then
    return ''
end
-- It begins with what was said (see state.lua).
local order = redis.call('HGET', state, 'order')
if order and string.sub(order, 1, 5) == 'drain' then
    return ''
end
-- A key of another type ends it in one of these, before anything is changed.
local place, time = next_place(interactive_tags, caller)
while redis.call('HSETNX', lanes, id, account_in('interactive', stride, caller)) == 0 do
    -- A message that is sent again while it runs.
    id = id .. '+'
end
local placed, kept = redis.pcall('ZADD', interactive, place, id), redis.pcall('HSET', jobs, id, message)
if type(placed) ~= 'number' or type(kept) ~= 'number' then
    -- Of an earlier layout, or damaged: nothing is changed after all.
    redis.call('HDEL', lanes, id)
    redis.pcall('ZREM', interactive, id)
    redis.pcall('HDEL', jobs, id)
    return ''
end
set_places(interactive_tags, caller, place + stride, place == time + STEP and time, place)
-- What was not there is made anew, without its TTL.
if time == 0 or redis.call('PTTL', interactive) < (QUEUE_TTL_S - 3600) * 1000 then
    for _, part in ipairs({interactive, interactive_tags, jobs, lanes}) do
        redis.call('EXPIRE', part, QUEUE_TTL_S)
    end
end
notify_worker()
return id
