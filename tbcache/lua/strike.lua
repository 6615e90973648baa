-- strike: the sweep of these patterns is over.
-- KEYS  1 log   (see clear.lua)
-- ARGV  the lines that go; a pattern cleared again meanwhile has a new one, which stays
-- Replies nothing. The sequence stays as it is.
local SWEPT_TTL_S = 86400

local log = redis.pcall('GET', KEYS[1])
if type(log) ~= 'string' then
    return
end
local is_struck = {}
for _, line in ipairs(ARGV) do
    is_struck[line] = true
end
local lines = {string.match(log, '^[^\n]*')}
for line in string.gmatch(log, '\n([^\n]+)') do
    if not is_struck[line] then
        lines[#lines + 1] = line
    end
end
redis.call('SET', KEYS[1], table.concat(lines, '\n'), 'KEEPTTL')
if #lines == 1 then
    redis.call('EXPIRE', KEYS[1], SWEPT_TTL_S)
end
