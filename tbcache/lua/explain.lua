--@include window
-- explain: where jobs stand in their queue, and what the next of them waits for. It changes nothing.
--
-- KEYS  queue       (see queue.lua)
--       window      (see state.lua)
-- ARGV  limits      those of the asker, which count where the fleet has none
--       cost        of a job in slots
--       ids         of the jobs
-- Replies  now, interactive, prewarm, suspects, in_hand, limits, stamps, each, retry_at, is_stopped, reason, jobs
--                   how many wait in each lane, and how many are in workers' hands; the limits in force; the stamps of
--                   the slots in the longest window, the oldest first, each standing for so many; when the next slot
--                   may be had (us; 0: now), whether an operator has said that none may, and why. A job is {state,
--                   place, at, reason, tries, many}: "interactive", "prewarm", "suspects" with how many of that lane are
--                   before it; "delayed" with when it is due, why (see `reasons` in queue.lua), and how often it has
--                   failed; "running" with when it began, 0 where that is not known; "follows": it comes after a job
--                   that runs; "dead"; "over". It stands for `many` of the ids in a row, which wait one behind the other
local MOST_STAMPS, MOST_TRIES = 2000, 1000

local now = server_time()
local window = {slots = slots, state = state, fleet = fleet}
-- Whoever asks takes no slot, and may have been started with other limits: those of the fleet hold.
local theirs = redis.call('HGET', state, 'limits')
if theirs and parse_limits(theirs)[1] then
    limits = theirs
end
open_window(window, limits, parse_limits(limits))
local in_force_now = window.limits
local status = {retry_at = 0, text = ''}
if in_force_now[1] then
    status = look(window, now, cost, 1)
end
if status.code == 'closed' then
    status.text = 'the upstream, which has closed it (' .. status.text .. ')'
end
for _, limit in ipairs(in_force_now) do
    if status.text == 'limit ' .. limit[1] then
        status.text = string.format('a slot of the limit %.0f per %.10g s', limit[1], limit[2] / 1e6)
    end
end
local stop, words = stopped_by(window.order)

-- Where there are many stamps, each one that is replied stands for its neighbours.
local stamps, each = {}, 1
if in_force_now[1] then
    local gone = redis.call('ZCOUNT', slots, '-inf', int(now - longest(in_force_now)))
    local many = redis.call('ZCARD', slots) - gone
    each = math.max(1, math.ceil(many / MOST_STAMPS))
    if each == 1 then
        local found = redis.call('ZRANGE', slots, gone, -1, 'WITHSCORES')
        for at = 2, #found, 2 do
            stamps[#stamps + 1] = int(moment(found[at]))
        end
    else
        for at = gone + each - 1, gone + many - 1, each do
            stamps[#stamps + 1] = int(moment(redis.call('ZRANGE', slots, at, at, 'WITHSCORES')[2]))
        end
    end
end

local claimed
local function is_claimed(id)
    if not claimed then
        claimed = {}
        for _, claim in ipairs(redis.call('ZRANGE', claims, 0, -1)) do
            claimed[string.match(claim, '^(.*)/') or claim] = true
        end
    end
    return claimed[id]
end

local function begun_at(id)
    local key = redis.call('HGET', keys, id)
    return key and moment(redis.call('HGET', pending, '@' .. key)) or 0
end

-- What a hash has of a job; "" for nothing, and where the key is damaged, which hides nothing else.
local function field(hash, name)
    local found = redis.pcall('HGET', hash, name)
    return type(found) == 'string' and found or ''
end

-- Most wait in the first of them.
local PLACES = {{'interactive', interactive}, {'prewarm', prewarm}, {'suspects', suspects}}

-- Where a job stands, and in which lane it waits.
local function stand(id)
    for _, lane in ipairs(PLACES) do
        local place = redis.call('ZRANK', lane[2], id)
        if place then
            return {lane[1], place, 0, '', 0, 1}, lane[2]
        end
    end
    if redis.call('HEXISTS', jobs, id) == 0 then
        return {redis.call('ZSCORE', dead, id) and 'dead' or 'over', 0, 0, '', 0, 1}
    end
    local due = redis.call('ZSCORE', delayed, id)
    if due then
        local failed = bounded(field(tries, id), 0, MOST_TRIES - 1, 0)
        return {'delayed', 0, int(moment(due)), field(reasons, '@' .. id), failed, 1}
    end
    return is_claimed(id) and {'running', 0, int(begun_at(id)), '', 0, 1} or {'follows', 0, 0, '', 0, 1}
end

-- Of many that are asked about, most wait behind the one before.
local stands, names, last, lane, next_place = {}, {}, nil, nil, 0
for _, id in ipairs(ids) do
    if lane and redis.call('ZRANK', lane, id) == next_place then
        last[6] = last[6] + 1
    else
        last, lane = stand(id)
        stands[#stands + 1], next_place = last, last[2]
    end
    next_place = next_place + 1
end
for _, limit in ipairs(in_force_now) do
    names[#names + 1] = limit_name(limit)
end
return reply_explained(now, redis.call('ZCARD', interactive), redis.call('ZCARD', prewarm),
    redis.call('ZCARD', suspects), redis.call('ZCARD', claims), table.concat(names, ','), stamps, each,
    status.retry_at, stop ~= nil, words or status.text, stands)
