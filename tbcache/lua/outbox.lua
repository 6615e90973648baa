-- outbox: keeps an answer for the database, until somebody of the fleet has written it.
--
-- Included; it has no KEYS of its own. A script calls keep_answer(outbox, answer).
local OUTBOX_TTL_S = 7 * 86400

local function keep_answer(outbox, answer)
    local kept = redis.pcall('XADD', outbox, '*', 'answer', answer)
    if type(kept) == 'table' then
        -- What has another type holds no answers. Any other error ends the script.
        if string.find(kept.err, 'WRONGTYPE', 1, true) then
            redis.call('UNLINK', outbox)
        end
        redis.call('XADD', outbox, '*', 'answer', answer)
    end
    redis.call('EXPIRE', outbox, OUTBOX_TTL_S)
end
