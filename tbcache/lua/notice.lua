-- notice: what is told to all processes at once.
--
-- $ns:notices   channel: "SOURCE UNTIL REASON", the source is closed until then (us), 0: it is open again;
--               "SOURCE paused WORDS", an operator has paused the source; "SOURCE resumed", it may go on;
--               "SOURCE", all are to give back their allowances of it.

-- Tells everyone. A user without the right to publish goes on: the others learn it when they ask.
local function tell(state_key, words)
    local namespace, source = string.match(state_key, '^(.*):{(.*)}:state$')
    redis.pcall('PUBLISH', namespace .. ':notices', source .. words)
end
