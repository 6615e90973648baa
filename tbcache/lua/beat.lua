--@include slots
-- beat: a process says that it is there, and learns its part of the source's limits while
-- Redis is away from it: its share, and its rooms, which are what it may take of that at
-- once. The shares never add up to more than 1, nor the rooms to more than what is free.
--
-- KEYS  1 slots   2 state   3 fleet   (see slots.lua)
-- ARGV  1 limits   2 process   3 share it goes by until it has read this reply
--       4 deadline (us; 0: none)   5 forget who was silent for longer (us)
--       6 rooms it goes by, "count:span=room,..."
-- Replies {now, share, rooms, epoch, closed until (us; 0: not), why, process, ...}: the
-- epoch in force ("" for none), and the absent. {now} past the deadline: nothing was done.
local process, deadline = ARGV[2], tonumber(ARGV[4])
local window = {slots = KEYS[1], state = KEYS[2], fleet = KEYS[3], process = process}

local now = server_time()
if deadline > 0 and now > deadline then
    return {int(now)}
end
redis.call('ZADD', window.fleet, int(now), process)
local forgotten_at = int(now - tonumber(ARGV[5]))
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', window.fleet, '-inf', forgotten_at)) do
    redis.call('ZREM', window.fleet, gone)
    redis.call('HDEL', window.state, 'share:' .. gone, 'rooms:' .. gone)
end

local fleet, given = redis.call('ZRANGE', window.fleet, 0, -1), 0
for _, other in ipairs(fleet) do
    if other ~= process then
        given = given + tonumber(redis.call('HGET', window.state, 'share:' .. other) or 0)
    end
end
local share = math.max(0, math.min(1 / #fleet, 1 - given))
-- Until it has read this it goes by the old one: the larger of the two is taken.
redis.call('HSET', window.state, 'share:' .. process, math.max(share, math.min(tonumber(ARGV[3]), 1 - given)))

-- The same holds for its rooms.
local kept, granted = {}, {}
for name, room in string.gmatch(ARGV[6], '(%d+:%d+)=(%d+)') do
    kept[name] = tonumber(room)
end
members_of(window, now).rooms[process] = nil
local state = redis.call('HMGET', window.state, 'epoch', 'closed_until', 'closed_reason', 'wanted_until', 'lost_at')
local is_wanted = tonumber(state[4] or 0) > now
for _, limit in ipairs(parse_limits(ARGV[1])) do
    local count, span = limit[1], limit[2]
    local own = redis.call('ZCOUNT', window.slots, '(' .. int(now - span), '+inf')
    local silent, rooms = kept_of(window, limit, now, 0)
    local free = count - own - foreign(window.slots, window.state, count, span, now, own) - silent
    local is_shut = is_wanted or now < tonumber(state[5] or 0) + span
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
return {int(now), string.format('%.9f', share), table.concat(granted, ','), state[1] or '',
    closed_until, state[3] or '', unpack(absent)}
