--@include envelope
--@include outbox
--@include answered
-- derive: stores an answer that was made from a symbol's timeline. It is fresh for as long as the timeline is.
--
-- KEYS  entry, timeline, outbox, queue   (see admit.lua, settle.lua)
-- ARGV  head      the first bytes of the timeline from which it was made: fresh until, birth
--       payload   the JSON of the answer
--       stale_us  for how long the answer is stale after that
--       answer    for the outbox; "" for none
-- Replies whether that timeline was still there, and so the answer was stored. A clear removes both.
local found = redis.pcall('GETRANGE', timeline, 0, STAMPS_BYTES - 1)
if found ~= head then
    return 0
end
local now = redis.call('TIME')
local left_us = fresh_until(head) + stale_us - now[1] * 1000000 - now[2]
if left_us >= 1000 then
    redis.call('SET', entry, seal_alike(head, payload), 'PX', string.format('%.0f', math.floor(left_us / 1000)))
    tell_queue(entry)
end
if answer ~= '' then
    keep_answer(outbox, answer)
end
return 1
