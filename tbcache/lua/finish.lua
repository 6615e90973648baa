--@include slot
--@include wake
--@include envelope
--@include queue
-- finish: what became of jobs that a worker had in hand.
--
-- KEYS  queue, slots   (see queue.lua, state.lua)
-- ARGV  most_tries
--       asked_us     the time is later, unless the clock was set back
--       ends   of each job 9:
--              claim   "done" | "later" | "back" | "dead"   result (JSON), "" for none of a job that is not over
--              delay for "later" (us)   1 when "later" is a try that failed, else 0
--              slots to give back: the job's, where it was not begun; 0: none
--              reason why it is dead, or put off
--              slots that are used by now: the job's, where nobody else commits them; 0: none
--              message in place of the job's, for "later"; "": the same
-- "later" puts a job off; "back" puts it in front of its lane, or of the suspects. A job
-- that failed too often is dead-lettered. Those who wait for one that is over get its result, or
-- the reason.
-- Replies what was done, of each job: "done" | "later" | "back" | "dead" | "gone": the claim is
-- over, and nothing was done of the job, which is over, waits again, or is in another's hands; the
-- slots of one that was cancelled are given back, or used.
local PARTS = 9
local now = server_time()

-- The jobs that are over, and the claims that are.
local done, over = {}, {}

local function finish(is_claimed, is_revoked, claim, what, result, delay, is_try, unused, reason, used, message)
    local id = job_of(claim)
    over[#over + 1] = claim
    -- The slots have the name of the claim, so they are nobody else's, whatever has become of the job.
    release(slots, claim, tonumber(unused))
    commit(slots, math.max(now, asked_us), claim, tonumber(used))
    if is_revoked then
        over[#over + 1] = claim .. REVOKED
    end
    if not is_claimed or what ~= 'done' and redis.call('HEXISTS', jobs, id) == 0 then
        return 'gone'
    end
    if what == 'later' and is_try == '1' and count_up(tries, id, most_tries) >= most_tries then
        what = 'dead'
    end
    if what == 'later' or what == 'back' then
        mark_back(id)
    end
    if what == 'later' then
        if message ~= '' then
            redis.call('HSET', jobs, id, message)
        end
        put_off(id, now + tonumber(delay))
        redis.call('HSET', reasons, '@' .. id, int(now) .. ' ' .. is_try .. ' ' .. reason)
    elseif what == 'back' then
        put_in_front(id)
        notify_worker()
    elseif what == 'dead' then
        dead_letter(id, now, reason, result)
    else
        answer(id, result)
        done[#done + 1] = id
    end
    return what
end

local named = {}
for at = 1, #ends, PARTS do
    named[#named + 1] = ends[at]
    named[#named + 1] = ends[at] .. REVOKED
end
local found, reply, is_kept = redis.call('ZMSCORE', claims, unpack(named)), {}, false
for i = 1, #named / 2 do
    local at = (i - 1) * PARTS + 1
    reply[i] = finish(found[2 * i - 1], found[2 * i], unpack(ends, at, at + PARTS - 1))
    is_kept = is_kept or reply[i] ~= 'done' and reply[i] ~= 'gone'
end
if done[1] then
    forget(done, now)
end
-- The claims go last: where anything before meets a damaged key, they still hold, or lapse, and their jobs are in the
-- queue; without a claim a job would be in no lane, and queued again never.
redis.call('ZREM', claims, unpack(over))
if is_kept then
    renew_ttls()
end
return reply
