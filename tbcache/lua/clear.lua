-- clear: what matches a pattern is gone, for everyone, from now on.
--
-- A log of clears, $ns:clears:{source}, is a STRING:
--     <sequence>            16 digits: that of the last clear
--     <sequence> <pattern>  a line for each pattern whose sweep is not over, oldest first
-- A sequence is the server's time (us), or one more than the last where that is later: a
-- log that was lost does not count backwards. An entry carries its birth, the sequence
-- that its writer knew when the load of its value began; it is hidden where a pattern
-- with a higher sequence matches its key. Who knew of no clear writes the least number of
-- 16 digits: JSON knows no leading zeros.
--
-- KEYS  log
-- ARGV  cleared  the pattern, without line breaks
-- Replies the log as it is now.
local PENDING_TTL_S = 4000 * 86400  -- longer than any entry lives: it must not outlive its clear

-- An error: a key of another type, which is no log.
local written = redis.pcall('GET', log)
written = type(written) == 'string' and written or ''
local time = redis.call('TIME')
-- A sequence that begins with a 9 would not be exact: such a log was damaged.
local last = tonumber(string.match(written, '^[1-8]%d*') or 0)
local sequence = string.format('%016.0f', math.max(time[1] * 1000000 + time[2], last + 1))

local lines = {sequence}
for line, pattern in string.gmatch(written, '\n(%d+ ([^\n]+))') do
    -- The same pattern once more hides all that it hid before.
    if pattern ~= cleared then
        lines[#lines + 1] = line
    end
end
lines[#lines + 1] = sequence .. ' ' .. cleared
written = table.concat(lines, '\n')
redis.call('SET', log, written, 'EX', PENDING_TTL_S)
return written
