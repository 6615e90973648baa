-- layout: which layout what is in Redis has, and who wrote it.
-- KEYS  layout      HASH  layout -> its number   version -> the tbcache that wrote it
-- ARGV  ours        the asker's layout
--       version     its version of tbcache
--       ttl_ms
--       takes_over  from an earlier layout, or from none
-- Replies  number, version, seconds, micros   what is in force after that, 0 and "" where Redis says of
--            none; and the server's time, which is thus known without an ask of its own
-- An error: a key of another type, which says nothing.
local clock = redis.call('TIME')
local held = redis.pcall('HMGET', layout, 'layout', 'version')
local found = tonumber(held[1] or 0) or 0
if found == ours or (found < ours and takes_over) then
    if held.err then
        redis.call('UNLINK', layout)
    end
    redis.call('HSET', layout, 'layout', ours, 'version', version)
    redis.call('PEXPIRE', layout, ttl_ms)
    return reply_layout(ours, version, clock[1], clock[2])
end
return reply_layout(found, held[2] or '', clock[1], clock[2])
