-- number: numbers and moments as Redis holds them. Lua would print 1.7e15.

local function int(number)
    return string.format('%.0f', number)
end

-- A moment as Redis holds it (us). What is damaged, or beyond the calendar, is as good as none.
local function moment(text)
    local found = tonumber(text or 0) or 0
    return found > 0 and found < 2.5e17 and found or 0
end

local function server_time()
    local clock = redis.call('TIME')
    return clock[1] * 1000000 + clock[2]
end
