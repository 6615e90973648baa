--@include number
-- summary: of several windows, all that a beat would tell of each, in one text: a process that rests beats for those
-- where it is another than before. It writes nothing.
--
-- KEYS  windows   of each 3: slots, state, fleet (see state.lua)
-- ARGV  process
--       seen      of each window: when Redis last heard the process, as that was replied (us; 0: never)
-- Replies  now, summaries   "" where Redis does not know of that, as after a loss of data, or where a key is damaged
local PARTS = 3

local function summary_of(slots, state, fleet, last_seen)
    local known = redis.pcall('ZSCORE', fleet, process)
    local newest = redis.pcall('ZRANGE', slots, -1, -1, 'WITHSCORES')
    local stored = redis.pcall('HMGET', state, 'epoch', 'limits', 'closed_until', 'lost_at', 'whole_at', 'left_until',
        'order', 'bound')
    if (tonumber(known or nil) or 0) < last_seen or newest.err or stored.err then
        return ''
    end
    -- A slot that was taken has another stamp than those before: what is known of it is known to one process more then.
    local parts = {redis.call('ZCARD', fleet), newest[2] or ''}
    for at = 1, 8 do
        parts[#parts + 1] = tostring(stored[at])
    end
    return table.concat(parts, ' ')
end

local summaries = {}
for at = 1, #seen do
    local first = PARTS * (at - 1)
    summaries[at] = summary_of(windows[first + 1], windows[first + 2], windows[first + 3], tonumber(seen[at]))
end
return reply_summed(server_time(), summaries)
