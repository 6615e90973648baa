--@include number
-- layout: tells which layout the data in Redis has, and which version of tbcache wrote it; or takes it over.
-- KEYS  layout      HASH  layout -> its number   version -> the tbcache that wrote it
-- ARGV  ours        the asker's layout
--       version     its version of tbcache
--       ttl_ms
--       takes_over  the asker may take over from an earlier layout, or from none
-- Replies  number, version, seconds, micros   the layout in force after that, or 0 and "" where there is none;
--            and the server's time, so that it need not be asked for separately
-- An error means that the key has another type, and says nothing of a layout.
local MOST_LAYOUT = 1000000
local clock = redis.call('TIME')
local held = redis.pcall('HMGET', layout, 'layout', 'version')
local found = bounded(held[1], 0, MOST_LAYOUT, 0)
if found == ours or (found < ours and takes_over) then
    if held.err then
        redis.call('UNLINK', layout)
    end
    redis.call('HSET', layout, 'layout', ours, 'version', version)
    redis.call('PEXPIRE', layout, ttl_ms)
    return reply_layout(ours, version, clock[1], clock[2])
end
return reply_layout(found, held[2] or '', clock[1], clock[2])
