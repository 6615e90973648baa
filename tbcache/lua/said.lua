--@include number
-- said: what operators say. Each saying is a field of a hash, "VALUE SINCE WHO WHY", and SINCE, the moment at which it
-- was said (us), is its number: the greater one is in force. What is taken back stays as a saying too, whose VALUE says
-- so. So where Redis loses one, in whole or in part, whoever knows it may say it again at any time, and undoes nothing.

-- Past this a number of Lua is not exact.
local LAST_SINCE = 2 ^ 53 - 1

-- Writes a saying: a new one, where `since` is 0, or one that was lost, unless a later one stands. Replies what stood,
-- and what stands from now on; "" for nothing.
local function say(key, field, value, since, who, why)
    local before = redis.call('HGET', key, field) or ''
    local stood = bounded(string.match(before, '^%S+ (%d+)'), 0, LAST_SINCE, 0)
    -- Later than what stands, also where the clock was set back.
    local number = since == 0 and math.max(server_time(), stood + 1) or since
    if number <= stood then
        return before, before
    end
    local text = value .. ' ' .. int(number) .. ' ' .. who .. ' ' .. why
    redis.call('HSET', key, field, text)
    return before, text
end

-- What stands: its value, since when (us), who said it first, and why; nil where nothing does that makes sense.
local function standing(key, field)
    local texts = redis.call('HMGET', key, field, field .. '_since')
    local value, number, who, why = string.match(texts[1] or '', '^(%S+) (%d+) (%S+) ?(.*)$')
    local since = bounded(number, 1, LAST_SINCE, 0)
    if since == 0 then
        return nil
    end
    local said_again, first = string.match(texts[2] or '', '^(%d+) (%d+)$')
    first = said_again == number and bounded(first, 1, since, since) or since
    return {value = value, since = first, who = who, why = why}
end

-- Writes a saying as `say` does. Where it is said now and what `stood` (see standing) stays, that is said again, for who
-- said it first: who, why and since when are those of the first. It has a new number all the same: where Redis is back
-- from an old file, what was said before that must not undo it. Replies what stood until now, with since when, what stands
-- from now on, and whether that was written.
local function say_over(key, field, stood, stays, value, since, who, why)
    local is_again = since == 0 and stood and stays
    if is_again then
        value, who, why = stood.value, stood.who, stood.why
    end
    local before, stands = say(key, field, value, since, who, why)
    if is_again then
        redis.call('HSET', key, field .. '_since', string.match(stands, '^%S+ (%d+)') .. ' ' .. int(stood.since))
    end
    local is_written = stands ~= before
    if stood then
        before = stood.value .. ' ' .. int(stood.since) .. ' ' .. stood.who .. ' ' .. stood.why
    end
    return before, stands, is_written
end
