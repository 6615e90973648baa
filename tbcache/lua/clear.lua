-- clear: hides all values whose keys match a pattern, for everyone and at once.
--
-- A log of clears, $ns:clears:{source}, is a STRING:
--     <sequence>            16 digits: the sequence of the last clear
--     <sequence> <pattern>  a line for each pattern whose sweep is not over, the oldest first
--
-- The sequence of a clear is the server's time (us), or one more than the last sequence where that is later. So it does
-- not go backwards, even after the log was lost. An entry has a birth: the last sequence that its writer knew when the
-- load of its value began. The entry is hidden where its key matches a pattern with a higher sequence. A writer that
-- knew of no clear writes the smallest number of 16 digits, because a number in JSON has no leading zeros.
--
-- KEYS  log
-- ARGV  cleared  the pattern, without line breaks
-- Replies the log as it is now.
local PENDING_TTL_S = 4000 * 86400  -- longer than any entry lives, as no entry may outlive the clear that hides it

-- An error means that the key has another type, so that it is no log.
local written = redis.pcall('GET', log)
written = type(written) == 'string' and written or ''
local time = redis.call('TIME')
-- Lua would not read a sequence that begins with 9 exactly. No clear writes one, so such a log is damaged.
local last = tonumber(string.match(written, '^[1-8]%d*') or 0)
local sequence = string.format('%016.0f', math.max(time[1] * 1000000 + time[2], last + 1))

local lines = {sequence}
for line, pattern in string.gmatch(written, '\n(%d+ ([^\n]+))') do
    -- The new line hides all that an older line with the same pattern hides.
    if pattern ~= cleared then
        lines[#lines + 1] = line
    end
end
lines[#lines + 1] = sequence .. ' ' .. cleared
written = table.concat(lines, '\n')
redis.call('SET', log, written, 'EX', PENDING_TTL_S)
return written
