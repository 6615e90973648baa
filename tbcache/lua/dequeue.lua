--@include slots
--@include queue
-- dequeue: gives a worker as many jobs as it has idle threads and the source has slots.
--
-- KEYS  13 slots   14 state   15 fleet   (see slots.lua)
-- ARGV  1 most jobs   2 limits   3 share of the pre-warm lane   4 lease of a slot (us)
--       5 claim (us): for how long a job is this worker's
--       6 end of new claims, which begin with the job's id and a slash
--       7 most tries   8 deadline (us; 0: none)   9 process   10 cost of a job in
--       slots   then the claims of the jobs that the worker has in hand: they are renewed
-- Replies {now, retry_at, message, claim, ...}: retry_at (us) is when more may come
-- (0: when the bell rings). Each job comes with a held slot of its claim's name. Past the
-- deadline nothing is done and none comes: the worker has given up on this ask.
local most, limits, share = tonumber(ARGV[1]), parse_limits(ARGV[2]), tonumber(ARGV[3])
local lease, claim_us, prefix, cost = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[10])
local window = {slots = KEYS[13], state = KEYS[14], fleet = KEYS[15], process = ARGV[9]}
local deadline = tonumber(ARGV[8])

local now = server_time()
if deadline > 0 and now > deadline then
    return {int(now), '0'}
end
hear(window.fleet, ARGV[9], now)
for i = 11, #ARGV do
    redis.call('ZADD', claims, 'XX', int(now + claim_us), ARGV[i])
end

-- Jobs of workers that died come first again; one that keeps killing its worker is buried.
for _, lapsed in ipairs(redis.call('ZRANGEBYSCORE', claims, '-inf', int(now), 'LIMIT', 0, 100)) do
    redis.call('ZREM', claims, lapsed)
    local id = job_of(lapsed)
    if redis.call('HINCRBY', tries, id, 1) >= tonumber(ARGV[7]) then
        bury(id, now)
    else
        redis.call('LPUSH', lane_of(id), id)
    end
    keep()
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', int(now), 'LIMIT', 0, 100)) do
    redis.call('ZREM', delayed, id)
    redis.call('RPUSH', lane_of(id), id)
    keep()
end

local reply = {int(now), '0'}
local function take(list, part)
    while most > 0 do
        local id = redis.call('LINDEX', list, 0)
        if not id then
            return
        end
        local message = redis.call('HGET', jobs, id)
        if message then
            local retry_at, reason = look(window, limits, now, cost, part)
            if retry_at > 0 then
                if reason == GIVING_BACK then
                    call_for_rooms(window, now)
                end
                if reply[2] == '0' or retry_at < tonumber(reply[2]) then
                    reply[2] = int(retry_at)
                end
                return
            end
            local claim = id .. '/' .. prefix .. most
            hold(window, limits, now, claim, cost, lease, now, part)
            redis.call('ZADD', claims, int(now + claim_us), claim)
            reply[#reply + 1] = message
            reply[#reply + 1] = claim
            most = most - 1
        end
        redis.call('LPOP', list)
    end
end
take(interactive, 1)
take(prewarm, share)

if #reply > 2 then
    keep()
end
local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
if due and (reply[2] == '0' or tonumber(due) < tonumber(reply[2])) then
    reply[2] = due
end
return reply
