-- stop: tells whether an operator has paused or drained a source (see `order` in state.lua).
--
-- Included; it has no KEYS of its own.

-- How soon to look again, as the order may be taken back at any moment.
local STOP_POLL_US = 1000000

-- Why nothing is done, as a code and in words for people: "paused", or "drained" where it is for something new. nil
-- where no order is against it. `order` is the field's text, false for none.
local function stopped_by(order, is_for_new)
    if not order then
        return nil
    end
    local what, who, why = string.match(order, '^(%a+) %d+ (%S+) ?(.*)$')
    local code = what == 'pause' and 'paused' or what == 'drain' and is_for_new and 'drained' or nil
    if code then
        return code, code .. ' by ' .. who .. (why ~= '' and ': ' .. why or '')
    end
end
