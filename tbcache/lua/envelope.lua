-- envelope: the text around the value of an entry, {"f":<fresh until>,"b":<birth>,"v":<JSON>}. Both moments have 16
-- digits (us). The module store/envelope.py reads and writes the same form.
--
-- Included; it has no KEYS of its own.
local STAMPS_BYTES = 42  -- so many bytes at the beginning of an entry hold both moments
local UNCLEARED = '1000000000000000'  -- the birth of a value whose writer knew of no clear (see clear.lua)

-- These two take an entry or its head. A damaged entry counts as old, and as from before any clear.
local function fresh_until(entry)
    return tonumber(string.sub(entry, 6, 21)) or 0
end

local function birth_of(entry)
    return tonumber(string.sub(entry, 27, 42)) or 0
end

-- For how many hours a symbol's timeline was asked for. Its value begins with that: {"h":<hours>,"t":<text>}.
local HOURS_BYTES = 64
local function hours_of(entry)
    return tonumber(string.match(string.sub(entry, 48, HOURS_BYTES), '^{"h":(%d+),') or 0)
end

local function seal(fresh_until_us, birth, payload)
    return '{"f":' .. fresh_until_us .. ',"b":' .. birth .. ',"v":' .. payload .. '}'
end

-- The same entry, fresh until that moment.
local function age(entry, fresh_until_us)
    return string.sub(entry, 1, 5) .. fresh_until_us .. string.sub(entry, 22)
end

-- Seals a value with the moments of another entry, whose head this is.
local function seal_alike(head, payload)
    return seal(string.sub(head, 6, 21), string.sub(head, 27, 42), payload)
end

-- What is fresh of these entries, but no longer than until `latest`, is old from now on.
local function outdate(entries, now, latest)
    for _, key in ipairs(entries) do
        local text = redis.pcall('GET', key)
        if type(text) == 'string' and fresh_until(text) > now and fresh_until(text) <= latest then
            redis.call('SET', key, age(text, string.format('%.0f', now)), 'KEEPTTL')
        end
    end
end
