--@include slots
--@include fleet
-- beat: a process says that it is there, and learns the limits in force and its part of them
-- while Redis is away from it: its share, and its rooms, which are what it may take of that at
-- once. The shares never add up to more than 1, nor the rooms to more than what is free.
--
-- KEYS  1 slots   2 state   3 fleet   (see slots.lua)
-- ARGV  1 its limits   2 process   3 share it goes by until it has read this reply
--       4 deadline (us; 0: none)   5 forget who was silent for longer (us)
--       6 rooms it goes by, "count:span=room,..."
--       7 "alone" when it can go on without Redis; "" for one that only does what Redis gives it
--       8 what it was replied of the epoch before, "" for none (see meet)   9 name for a new epoch
--      10 lease (us)
-- Replies {now, share, fair share, rooms, limits in force, processes, seen,
-- closed until (us; 0: not), why, 1 when nobody who can go alone is silent, {process, ...},
-- 1 when nothing is missing in the window, left}: how many take slots; what meet replies; who is absent; for how
-- long (us) a slot of those who have left may be in a window yet. {now} past the deadline: nothing was done.
local process, deadline = ARGV[2], tonumber(ARGV[4])
local window = {slots = KEYS[1], state = KEYS[2], fleet = KEYS[3], process = process}

local now = server_time()
if deadline > 0 and now > deadline then
    return {int(now)}
end
local seen = meet(window, now, ARGV[8], ARGV[9], true)
local lease = longest_lease(window.state, ARGV[10])
local returned_at = tonumber(redis.call('HGET', window.state, 'returned_at') or 0)
local has_changed = redis.call('HGET', window.state, 'limits:' .. process) ~= ARGV[1]
if has_changed then
    redis.call('HSET', window.state, 'limits:' .. process, ARGV[1])
end
local forgotten_at = int(now - tonumber(ARGV[5]))
local silent = redis.call('ZRANGEBYSCORE', window.fleet, '-inf', forgotten_at, 'WITHSCORES')
for i = 1, #silent, 2 do
    -- One that the last outage found here may have sent until its end.
    if tonumber(silent[i + 1]) >= returned_at or now >= clear_at(window.state, returned_at, lease) then
        local last = math.max(tonumber(silent[i + 1]), returned_at)
        forget(window.state, window.fleet, silent[i], clear_at(window.state, last, lease))
        has_changed = true
    end
end
if has_changed then
    agree(window.state, window.fleet)
end

local state = redis.call('HMGET', window.state, 'limits', 'closed_until', 'closed_reason', 'wanted_until',
    'lost_at', 'whole_at', 'left_until')
window.limits = parse_limits(state[1] or ARGV[1])
local longest = 0
for _, limit in ipairs(window.limits) do
    longest = math.max(longest, limit[2])
end
local is_whole = not window.is_behind and now >= whole_from(state[5], state[6], longest, lease)

-- Shares are for those who can go on alone: the others wait for Redis, whatever is theirs.
local members, given, sharing = members_of(window, now), 0, 0
for other, theirs in pairs(members.shares) do
    if other ~= process then
        given, sharing = given + theirs, sharing + 1
    end
end
local going_by, fair, share = tonumber(ARGV[3]), 0, 0
if ARGV[7] == 'alone' then
    fair = 1 / (sharing + 1)
    share = math.max(0, math.min(fair, 1 - given))
    if not is_whole then
        -- Some of whom nothing is known any more may be going on with theirs.
        share = math.min(share, going_by)
    end
    -- Until it has read this it goes by the old one: the larger of the two is taken.
    redis.call('HSET', window.state, 'share:' .. process, math.max(share, math.min(going_by, 1 - given)))
else
    redis.call('HDEL', window.state, 'share:' .. process)
end

-- The same holds for its rooms.
local kept, granted = read_rooms(ARGV[6]), {}
members.rooms[process] = nil
local is_wanted = tonumber(state[4] or 0) > now
for _, limit in ipairs(window.limits) do
    local count, span = limit[1], limit[2]
    local own = redis.call('ZCOUNT', window.slots, '(' .. int(now - span), '+inf')
    local silent_part, rooms = kept_of(window, limit, now, 0)
    local free = count - own - foreign(window.slots, window.state, count, span, now, own) - silent_part
    local is_shut = is_wanted or window.is_behind or now < whole_from(state[5], state[6], span, lease)
    local room = is_shut and 0 or math.min(math.floor(share * free + ROUNDING), free - rooms)
    if room > 0 then
        local name = limit_name(limit)
        granted[#granted + 1] = name .. '=' .. int(room)
        kept[name] = math.max(room, kept[name] or 0)
    end
end
write_rooms(window, kept)
redis.call('PEXPIRE', window.fleet, 86400000)
redis.call('PEXPIRE', window.state, STATE_TTL_MS)

local closed_until = int(moment(state[2]) > now and moment(state[2]) or 0)
local absent = redis.call('ZRANGEBYSCORE', window.fleet, '-inf', '(' .. int(now - ABSENT_US))
return {int(now), string.format('%.9f', share), string.format('%.9f', fair), table.concat(granted, ','),
    state[1] or ARGV[1], members.count, seen, closed_until, state[3] or '', #members.silent == 0 and 1 or 0, absent,
    is_whole and 1 or 0, int(math.max(0, tonumber(state[7] or 0) - now))}
