--@include epoch
--@include fleet
-- leave: a process that is over gives its share of the source's limits back.
--
-- KEYS  state, fleet   (see state.lua)
-- ARGV  process
--       is_clean    all that it sent is known here; else it was found dead and may have sent more, without Redis
--       hold_us
--       gone_in_us  for how long a slot of it stays in a window; -1 where that is not known
-- Replies 0 when it is forgotten, or the moment (us) until which its share is reserved.
local now, hold = server_time(), longest_hold(state, hold_us)
local gone_at = gone_in_us >= 0 and now + gone_in_us or clear_at(state, now, hold)
-- A process without a share sends nothing without Redis.
if not is_clean and redis.call('HEXISTS', state, 'share:' .. process) == 1 then
    local died_at = tonumber(redis.call('HGET', state, 'died:' .. process) or -1)
    -- A process that was heard since then was not dead, and may have sent more.
    if died_at < tonumber(redis.call('ZSCORE', fleet, process) or 0) then
        died_at = now
        redis.call('HSET', state, 'died:' .. process, int(now))
    end
    gone_at = clear_at(state, died_at, hold)
    if now < gone_at then
        return int(gone_at)
    end
end
forget(state, fleet, process, gone_at)
redis.call('PEXPIRE', state, STATE_TTL_MS)
agree(state, fleet)
return 0
