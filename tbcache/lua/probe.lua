-- probe: finds out whether the server accepts what the other scripts do. It is refused wherever they would be, but for
-- want of a right: that it tells.
-- KEYS  probe     STRING
-- ARGV  ttl_ms    for how long the key stays
--       commands  that a script was refused with
-- Replies  denied   those of them that the user may not run, as far as the server can tell
redis.call('SET', probe, '1', 'PX', ttl_ms)
local denied = {}
for _, command in ipairs(commands) do
    if redis.acl_check_cmd and not redis.acl_check_cmd(command, probe) then
        denied[#denied + 1] = command
    end
end
return reply_probed(denied)
