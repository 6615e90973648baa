--@include epoch
--@include fleet
--@include late
-- leave: gives back the share of a process that has ended.
--
-- KEYS  state, fleet   (see state.lua)
-- ARGV  process
--       is_clean    Redis knows all that it has sent; else it was found dead, and may have sent more without Redis
--       hold_us
--       gone_in_us  for how long one of its slots may stay in a window; -1 where that is unknown
--       asked_us, deadline_us   between these the asker expects to be heard (see late.lua); 0: at any time
-- Replies
--       left: reserved_until   0 where the process is forgotten now, or until when (us) its share is reserved
--       late: now              it is late: nothing was done
local now = server_time()
if is_late(now, asked_us, deadline_us) then
    return reply_late(now)
end
local hold = longest_hold(state, hold_us)
local gone_at = gone_in_us >= 0 and now + gone_in_us or clear_at(state, now, hold)
-- A process without a share sends nothing while Redis is away, so nothing of it can be unknown.
if not is_clean and redis.call('HEXISTS', state, 'share:' .. process) == 1 then
    local died_at = bounded(redis.call('HGET', state, 'died:' .. process), 0, now, -1)
    -- A process that was heard of since then was not dead, and may have sent more. What lies in the future was noted before
    -- the clock was set back.
    if died_at < bounded(redis.call('ZSCORE', fleet, process), 0, now, 0) then
        died_at = now
        redis.call('HSET', state, 'died:' .. process, int(now))
    end
    gone_at = clear_at(state, died_at, hold)
    if now < gone_at then
        return reply_left(int(gone_at))
    end
end
forget(state, fleet, process, gone_at)
redis.call('PEXPIRE', state, STATE_TTL_MS)
agree(state, fleet)
return reply_left(0)
