--@include slots
--@include queue
-- finish: what became of a job that a worker had in hand.
--
-- KEYS  13 result  LIST  one element, the result (JSON); those who wait rotate it
-- ARGV  1 job id   2 "done" | "later" | "back" | "dead"
--       3 result, "" for none   4 result is kept (ms)   5 delay for "later" (us)
--       6 1 when "later" is a try that failed, else 0   7 most tries
-- "later" puts the job off; "back" puts it in front of its lane. A job tried too often
-- is buried, and its result given.
-- Replies what was done: "done" | "later" | "back" | "dead" | "gone" (it was over).
local id, what = ARGV[1], ARGV[2]
local now = server_time()

if redis.call('HEXISTS', jobs, id) == 0 then
    return 'gone'
end
if what == 'later' and redis.call('HINCRBY', tries, id, tonumber(ARGV[6])) >= tonumber(ARGV[7]) then
    what = 'dead'
end
if what == 'later' then
    redis.call('ZREM', claims, id)
    redis.call('ZADD', delayed, int(now + tonumber(ARGV[5])), id)
elseif what == 'back' then
    redis.call('ZREM', claims, id)
    redis.call('LPUSH', lane_of(id), id)
    ring()
elseif what == 'dead' then
    bury(id, now)
else
    forget(id)
end
if ARGV[3] ~= '' and (what == 'done' or what == 'dead') then
    redis.call('RPUSH', KEYS[13], ARGV[3])
    redis.call('PEXPIRE', KEYS[13], tonumber(ARGV[4]))
end
keep()
return what
