--@include slots
--@include wake
--@include queue
-- finish: what became of a job that a worker had in hand.
--
-- KEYS  18 slots   (see slots.lua)
-- ARGV  1 claim   2 "done" | "later" | "back" | "dead"   3 result (JSON), "" for none of a job that is not over
--       4 delay for "later" (us)   5 1 when "later" is a try that failed, else 0
--       6 most tries   7 slots to give back: the job's, where it was not begun; 0: none
--       8 reason, where it may come to be dead
-- "later" puts the job off; "back" puts it in front of its lane, or of the suspects. A job
-- that failed too often is buried. Those who wait for one that is over get its result, or
-- the reason.
-- Replies what was done: "done" | "later" | "back" | "dead" | "gone": the claim is over, and
-- nothing was done. The job is over, waits again, or is in another's hands.
local claim, what = ARGV[1], ARGV[2]
local id, now = job_of(claim), server_time()

if not redis.call('ZSCORE', claims, claim) or redis.call('HEXISTS', jobs, id) == 0 then
    redis.call('ZREM', claims, claim)
    return 'gone'
end
release(KEYS[18], claim, tonumber(ARGV[7]))
local is_try, most = tonumber(ARGV[5]) == 1, tonumber(ARGV[6])
if what == 'later' and is_try and count(tries, id, most) >= most then
    what = 'dead'
end
if what == 'later' then
    redis.call('ZADD', delayed, int(now + tonumber(ARGV[4])), id)
elseif what == 'back' then
    redis.call('LPUSH', list_of(id), id)
elseif what == 'dead' then
    bury(id, now, ARGV[8], ARGV[3])
else
    answer(id, ARGV[3])
    forget(id)
end
-- Last: where anything before it meets a damaged key, the claim still holds, or lapses, and the
-- job is in the queue; without a claim it would be in no list, and queued again never.
redis.call('ZREM', claims, claim)
if what == 'back' then
    ring()
end
if what ~= 'done' then
    keep()
end
return what
