-- wake: puts an element into a list at which others wait, and tells them so.
--
-- $ns:wakes   channel: the name of a list that has an element now. A user without the right to publish or to
--             listen goes on, since whoever waits also looks at the list now and then.
--
-- Included; it has no KEYS of its own. A script calls wake(list, element, ttl in ms).
local function wake(list, element, ttl_ms)
    -- A key of another type is no list. Whoever waits at it gets nothing, and the script goes on.
    redis.pcall('RPUSH', list, element)
    redis.pcall('PEXPIRE', list, ttl_ms)
    redis.pcall('PUBLISH', string.match(list, '^(.-):{') .. ':wakes', list)
end
