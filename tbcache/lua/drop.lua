--@include dropped
-- drop: what is loaded now under keys that were removed from the cache is not stored, and the jobs that load it serve
-- nobody who asks later. It comes after the removal, so that no job can begin in between that is not told.
--
-- KEYS  pendings   of each key that of the queue of its source (see queue.lua)
-- ARGV  fetches    the keys
-- Replies nothing.
for i, key in ipairs(fetches) do
    tell_dropped(pendings[i], key, math.huge)
end
