--@include number
--@include envelope
--@include removal
--@include answered
-- put_back: stores what a process has loaded while Redis was away from it, where that is newer than what is there, and
-- nothing can have been cleared or deleted since its load began. No such value is made of a timeline.
--
-- KEYS  clears, everything, deleted   (see removal.lua)
--       entry, queue   (see settle.lua)
-- ARGV  asked_us, deadline_us   between these the asker expects to be heard
--       began_us    when the load began, at the earliest
--       fresh_us, gone_us   until when the value is fresh, and until when it is kept
--       payload     its JSON
-- Replies whether it was stored.
local AT_BYTES = 40

local now = server_time()
local birth = sequence_of(clears)
-- A value of a function begins with the moment at which it was loaded (us). Nothing else does, and nothing is put in the
-- place of that. An error means a key of another type.
local function loaded_at(value)
    return tonumber(string.match(value, '^{"at":(%d+),'))
end
local there = redis.pcall('GETRANGE', entry, 0, STAMPS_BYTES + AT_BYTES)
local at = type(there) == 'string' and (there == '' and 0 or loaded_at(string.sub(there, STAMPS_BYTES + 6)))
local kept_ms = math.floor((gone_us - now) / 1000)
local ours = loaded_at(payload) or 0
-- A moment that is still to come is by another clock than this server's.
if not is_in_time(now, asked_us, deadline_us) or was_removed(now, began_us, clears, everything, deleted) or kept_ms < 1
    or not at or at >= ours or ours > now then
    return 0
end
redis.call('SET', entry, seal(int(fresh_us), birth, payload), 'PX', int(kept_ms))
tell_queue(entry)
return 1
