-- incident: keeps what the process that watches the fleet knows of its troubles.
--
-- KEYS  lease      STRING, see lead.lua
--       incidents  HASH  id -> JSON, see fleet/incident.py
-- ARGV  token      of the lease that the asker holds
--       kept_ms    for how long they are kept
--       changes    id and JSON by turns; an empty JSON removes the id
-- Replies 1; 0 where the lease is another's by now, and nothing is changed.
local held = string.match(redis.call('GET', lease) or '', '^(%d+) ')
if tonumber(held) ~= token then
    return 0
end
for i = 1, #changes, 2 do
    if changes[i + 1] == '' then
        redis.call('HDEL', incidents, changes[i])
    else
        redis.call('HSET', incidents, changes[i], changes[i + 1])
    end
end
redis.call('PEXPIRE', incidents, kept_ms)
return 1
