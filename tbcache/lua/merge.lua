--@include number
--@include envelope
--@include removal
--@include outbox
--@include answered
-- merge: stores a symbol's timeline to which a process has added what it has bought while Redis was away from it, and the
-- answer that it makes of it: where that timeline is still there, and nothing can have been cleared or deleted since
-- the first of it was bought.
--
-- KEYS  clears, everything, deleted   (see removal.lua)
--       timeline, entry, outbox, queue   (see admit.lua, settle.lua)
--       others      the entries of the symbol over other hours
-- ARGV  asked_us, deadline_us   between these the asker expects to be heard
--       began_us    when the first load began, at the earliest
--       cleared     the last clear that the asker has read of
--       head        the first bytes of the timeline that it has read: fresh until, birth; "" for none
--       fresh_us    until when both are fresh
--       timeline_us, stale_us   for how long the timeline is kept, and for how long the answer is stale
--       payload     the JSON of the timeline
--       value       the JSON of the answer; "" for none
--       answer      for the outbox; "" for none
-- Replies  0: nothing was stored; 1: it was; 2: nothing was, as another has changed the timeline meanwhile
local NOTHING, STORED, CHANGED = 0, 1, 2

local now = server_time()
if not is_in_time(now, asked_us, deadline_us) or was_removed(now, began_us, clears, everything, deleted) then
    return NOTHING
end
local birth = sequence_of(clears)
if redis.pcall('GETRANGE', timeline, 0, STAMPS_BYTES - 1) ~= head or tonumber(birth) ~= cleared then
    return CHANGED
end
-- First: without it the database would not know what the loads after this one go on from.
if answer ~= '' then
    keep_answer(outbox, answer)
end
redis.call('SET', timeline, seal(int(fresh_us), birth, payload), 'PX', int(timeline_us / 1000))
local kept_ms = math.floor((fresh_us + stale_us - now) / 1000)
-- An answer that is fresh for longer is of a later load, whose timeline is still to come.
local there = redis.pcall('GETRANGE', entry, 0, STAMPS_BYTES - 1)
if value ~= '' and kept_ms >= 1 and type(there) == 'string' and fresh_until(there) <= fresh_us then
    redis.call('SET', entry, seal(int(fresh_us), birth, value), 'PX', int(kept_ms))
    tell_queue(entry)
end
outdate(others, now, fresh_us)
return STORED
