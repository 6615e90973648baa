--@include number
--@include envelope
-- put_back: stores what a process has loaded while Redis was away from it, where that is newer than what is there, and
-- nothing can have been cleared or deleted since its load began. No such value is made of a timeline.
--
-- KEYS  clears      STRING, the source's log of clears (see clear.lua)
--       everything  the log that has every clear
--       deleted     STRING that lives for REMEMBERED_US after the last deletion of a key of the source
--       entry
-- ARGV  asked_us, deadline_us   between these the asker expects to be heard
--       began_us    when the load began, at the earliest
--       fresh_us, gone_us   until when the value is fresh, and until when it is kept
--       payload     its JSON
-- Replies whether it was stored.
local AT_BYTES = 40

local now = server_time()
local function sequence_of(log)
    local text = redis.pcall('GETRANGE', log, 0, 15)
    -- An error means a key of another type, so that it is no log.
    return type(text) == 'string' and #text == 16 and string.match(text, '^[1-8]%d+$') or UNCLEARED
end
-- A deletion leaves no more than its mark. Its life is told in whole milliseconds. One that has no end is damaged.
local left_ms = redis.call('PTTL', deleted)
local deleted_at = now - REMEMBERED_US + 1000 * (math.max(left_ms, 0) + 2)
local birth = sequence_of(clears)
local changed_at = math.max(deleted_at, tonumber(birth), tonumber(sequence_of(everything)))
-- A value of a function begins with the moment at which it was loaded (us). Nothing else does, and nothing is put in the
-- place of that. An error means a key of another type.
local function loaded_at(value)
    return tonumber(string.match(value, '^{"at":(%d+),'))
end
local there = redis.pcall('GETRANGE', entry, 0, STAMPS_BYTES + AT_BYTES)
local at = type(there) == 'string' and (there == '' and 0 or loaded_at(string.sub(there, STAMPS_BYTES + 6)))
local kept_ms = math.floor((gone_us - now) / 1000)
local ours = loaded_at(payload) or 0
-- Outside of the two moments the asker is late, or its clock or the server's was set: no moment of its is true then. One
-- that comes is by another clock than this server's.
if now < asked_us or now > deadline_us or left_ms == -1 or began_us <= changed_at or kept_ms < 1
    or not at or at >= ours or ours > now then
    return 0
end
redis.call('SET', entry, seal(int(fresh_us), birth, payload), 'PX', int(kept_ms))
return 1
