--@include number
--@include wake
--@include envelope
--@include queue
-- purge: forgets dead letters.
--
-- KEYS  queue   (see queue.lua)
-- ARGV  ids     of the jobs
-- Replies how many of them were among the dead.
local many = 0
for _, id in ipairs(ids) do
    many = many + (exhume(id) and 1 or 0)
end
return many
