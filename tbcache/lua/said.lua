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
