-- notice: tells all processes something at once.
--
-- $ns:notices   channel: "SOURCE UNTIL REASON", the source is closed until then (us), 0: it is open again;
--               "SOURCE paused WORDS", an operator has paused the source; "SOURCE resumed", it may go on;
--               "SOURCE", all are to give back their allowances of it.

-- Tells everyone. Where the user lacks the right to publish, the script goes on: the others learn of it as they ask.
local function tell(state_key, words)
    local namespace, source = string.match(state_key, '^(.*):{(.*)}:state$')
    redis.pcall('PUBLISH', namespace .. ':notices', source .. words)
end
