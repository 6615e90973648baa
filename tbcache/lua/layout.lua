-- layout: which layout what is in Redis has, and who wrote it.
-- KEYS  1 layout   HASH  layout -> its number   version -> the tbcache that wrote it
-- ARGV  1 layout of the asker   2 its version of tbcache   3 TTL (ms)
--       4 "1": take over from an earlier layout, or from none
-- Replies {layout, version, seconds, microseconds}: what is in force after that, 0 and "" where Redis says of
-- none; and the server's time, which is thus known without an ask of its own.
-- An error: a key of another type, which says nothing.
local clock = redis.call('TIME')
local held = redis.pcall('HMGET', KEYS[1], 'layout', 'version')
local found = tonumber(held[1] or 0) or 0
if found == tonumber(ARGV[1]) or (found < tonumber(ARGV[1]) and ARGV[4] == '1') then
    if held.err then
        redis.call('UNLINK', KEYS[1])
    end
    redis.call('HSET', KEYS[1], 'layout', ARGV[1], 'version', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return {tonumber(ARGV[1]), ARGV[2], clock[1], clock[2]}
end
return {found, held[2] or '', clock[1], clock[2]}
