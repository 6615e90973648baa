-- place: gives jobs their places in a lane of a queue, whose tags are beside it (see queue.lua).
--
-- Included; it has no KEYS of its own.

-- So long live the parts of a queue that hold jobs, after one was written last.
local QUEUE_TTL_S = 7 * 86400
-- By how much the virtual time of a lane advances with each caller who comes: a thousandth of a job. So callers keep the
-- order in which they came, and no number of new names holds up for ever those who wait already.
local STEP = 1000
-- No place is further from 0 than this. One that is further is damaged, and counts as 0: all places after an infinite one
-- would be the same.
local MOST_PLACE = 4503599627370496  -- 2 ^ 52

-- What `lanes` has of a job. Its zeros make it longer than 64 bytes: a hash of shorter ones Redis searches field by field,
-- up to 512 of them. The stride is text on its way there: Lua takes longer to write a number than Redis for a command.
local function account_in(lane, stride, caller)
    return lane .. ' 000000000000000000000000000000000000000000000000000000' .. stride .. ' ' .. caller
end

-- Reads where the next job of a caller would begin, and the virtual time of the lane. A caller that has nothing waiting
-- begins behind others who have just come: what it did not use before gives it no precedence.
local function next_place(tags, caller)
    local found = redis.call('ZMSCORE', tags, '', caller)
    local time, finish = bounded(found[1], 0, MOST_PLACE, 0), bounded(found[2], 0, MOST_PLACE, 0)
    return finish > time + STEP and finish or time + STEP, time
end

-- Records in the tags of a lane that the places of a caller reach up to `finish`, and where the virtual time does not stand
-- still, what it was `before` and that it is `time`.
local function set_places(tags, caller, finish, before, time)
    if not before then
        redis.call('ZADD', tags, finish, caller)
        return
    end
    if caller ~= '' then
        redis.call('ZADD', tags, time, '', finish, caller)
    else
        redis.call('ZADD', tags, time, '')
    end
    -- A caller that has used nothing beyond that time may be forgotten: it would begin there as a new one does. Tags
    -- that were emptied first would be made anew, without their TTL.
    redis.call('ZREMRANGEBYSCORE', tags, '-inf', before)
end

-- Gives jobs their places in a lane on a caller's account, one after the other. This is start-time fair queueing: the
-- places of a caller lie its stride apart, the least is handed out first, and so callers get their parts whatever each
-- has queued.
local function give_places(lane, tags, ids, stride, caller)
    local placed, before, finish = {}, nil, 0
    local place, time = next_place(tags, caller)
    for i, id in ipairs(ids) do
        if place == time + STEP then
            before, time = time, place
        end
        placed[2 * i - 1], placed[2 * i] = place, id
        finish = place + stride
        place = math.max(time + STEP, caller ~= '' and finish or 0)
    end
    set_places(tags, caller, finish, before, time)
    redis.call('ZADD', lane, unpack(placed))
end
