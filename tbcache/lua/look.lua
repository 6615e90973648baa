--@include number
-- look: when the queues of a process are to be asked for jobs, though nobody rings for them.
--
-- KEYS  queues    of each queue 5: its lanes interactive, prewarm, and suspects, delayed, claims (see queue.lua)
-- Replies  now, moments   of each queue when (us): 0 is at once, as jobs wait; -1 is never, as there is nothing. Between, the
--                    first moment when a delayed job is due or a claim lapses, if it is not renewed
local PARTS = 5

-- A lane that is damaged, or of an earlier layout, counts as one with jobs: whoever asks for them learns what is wrong.
local function count(lane)
    local found = redis.pcall('ZCARD', lane)
    return type(found) == 'number' and found or 1
end

local now = server_time()

-- The moment of the first of a set; math.huge for none, and for one that no calendar reaches.
local function first_of(set)
    return bounded(redis.pcall('ZRANGE', set, 0, 0, 'WITHSCORES')[2], -math.huge, LAST_MOMENT, math.huge)
end

local function when(interactive, prewarm, suspects, delayed, claims)
    if count(interactive) + count(prewarm) + count(suspects) > 0 then
        return '0'
    end
    -- No claim holds for long, and dequeue.lua puts right those that are said to.
    local lapse = redis.pcall('EXISTS', claims) == 1 and math.min(first_of(claims), now + MINUTE_US) or math.huge
    local first = math.min(first_of(delayed), lapse)
    return first < math.huge and int(math.max(0, first)) or '-1'
end

local moments = {}
for at = 1, #queues, PARTS do
    moments[#moments + 1] = when(unpack(queues, at, at + PARTS - 1))
end
return reply_looked(now, moments)
