-- compact: removes those patterns from a log of clears whose sweep is over.
-- KEYS  log    (see clear.lua)
-- ARGV  swept  the lines to remove; a pattern that was cleared again meanwhile has a new line, which stays
-- Replies nothing. The sequence stays as it is.
local SWEPT_TTL_S = 86400

local written = redis.pcall('GET', log)
if type(written) ~= 'string' then
    return
end
local is_swept = {}
for _, line in ipairs(swept) do
    is_swept[line] = true
end
local lines = {string.match(written, '^[^\n]*')}
for line in string.gmatch(written, '\n([^\n]+)') do
    if not is_swept[line] then
        lines[#lines + 1] = line
    end
end
redis.call('SET', log, table.concat(lines, '\n'), 'KEEPTTL')
if #lines == 1 then
    redis.call('EXPIRE', log, SWEPT_TTL_S)
end
