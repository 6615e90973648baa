-- envelope: what stands around the value of an entry, {"f":<fresh until>,"b":<birth>,"v":<JSON>}: two moments
-- of 16 digits each (us). Also in store/envelope.py.
--
-- Included; it has no KEYS of its own.
local STAMPS_BYTES = 42  -- of an entry, as much as the two need (see store/envelope.py)
local UNCLEARED = '1000000000000000'  -- the birth of what knows of no clear (see clear.lua)

-- Both take an entry or its head. A damaged one counts as old, and as from before any clear.
local function fresh_until(entry)
    return tonumber(string.sub(entry, 6, 21)) or 0
end

local function birth_of(entry)
    return tonumber(string.sub(entry, 27, 42)) or 0
end

-- For how many hours a symbol's timeline was asked for, which its value says first: {"h":<hours>,"t":<text>}.
local HOURS_BYTES = 64
local function hours_of(entry)
    return tonumber(string.match(string.sub(entry, 48, HOURS_BYTES), '^{"h":(%d+),') or 0)
end

local function seal(fresh_until_us, birth, payload)
    return '{"f":' .. fresh_until_us .. ',"b":' .. birth .. ',"v":' .. payload .. '}'
end

-- With the moments of another entry, of which this is the head.
local function seal_alike(head, payload)
    return seal(string.sub(head, 6, 21), string.sub(head, 27, 42), payload)
end
