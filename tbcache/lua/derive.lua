--@include envelope
-- derive: keeps an answer that was made of a symbol's timeline, for as long as that is fresh.
--
-- KEYS  entry, timeline, outbox   (see admit.lua, settle.lua)
-- ARGV  head      the first bytes of the timeline that it was made of: fresh until, birth
--       payload   the answer's JSON
--       stale_us  for how long it is stale after that
--       answer    for the outbox, ""
-- Replies whether that timeline is still there, and the answer with it: a clear takes both.
local OUTBOX_TTL_S = 7 * 86400
local found = redis.pcall('GETRANGE', timeline, 0, STAMPS_BYTES - 1)
if found ~= head then
    return 0
end
local now = redis.call('TIME')
local left_us = fresh_until(head) + stale_us - now[1] * 1000000 - now[2]
if left_us >= 1000 then
    redis.call('SET', entry, seal_alike(head, payload), 'PX', string.format('%.0f', math.floor(left_us / 1000)))
end
if answer ~= '' then
    redis.call('XADD', outbox, '*', 'answer', answer)
    redis.call('EXPIRE', outbox, OUTBOX_TTL_S)
end
return 1
