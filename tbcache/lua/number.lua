-- number: numbers and moments as Redis holds them. Lua would print 1.7e15.

-- Whole numbers, as most are, the way that takes half the time.
local function int(number)
    local is_integer = number % 1 == 0 and number < 2 ^ 53 and number > -(2 ^ 53)
    return string.format(is_integer and '%d' or '%.0f', number)
end

-- A moment as Redis holds it (us). A damaged one, or one beyond the calendar, counts as 0.
local function moment(text)
    local found = tonumber(text or 0) or 0
    return found > 0 and found < 2.5e17 and found or 0
end

local function server_time()
    local clock = redis.call('TIME')
    return clock[1] * 1000000 + clock[2]
end
