-- wake: puts the element into a list that others wait for, and tells them.
--
-- $ns:wakes   channel: the name of a list that has an element by now. Who may not publish, or
--             listen, goes on: the lists are looked at now and then as well.
--
-- Included; it has no KEYS of its own. Who includes it calls wake(list, element, ttl in ms).
local function wake(list, element, ttl_ms)
    -- A key of another type is nobody's list: whoever waits there gets nothing, and the script goes on.
    redis.pcall('RPUSH', list, element)
    redis.pcall('PEXPIRE', list, ttl_ms)
    redis.pcall('PUBLISH', string.match(list, '^(.-):{') .. ':wakes', list)
end
