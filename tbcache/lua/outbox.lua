-- outbox: keeps an answer for the database, until somebody of the fleet has written it.
--
-- Included; it has no KEYS of its own. A script calls keep_answer(outbox, answer, is_overtaken). What was overtaken was
-- never an answer, and only what it has read is kept.
local OUTBOX_TTL_S = 7 * 86400

local function keep_answer(outbox, answer, is_overtaken)
    local entry = {'answer', answer, is_overtaken and 'overtaken' or nil, is_overtaken and 1 or nil}
    local kept = redis.pcall('XADD', outbox, '*', unpack(entry))
    if type(kept) == 'table' then
        -- What has another type holds no answers. Any other error ends the script.
        if string.find(kept.err, 'WRONGTYPE', 1, true) then
            redis.call('UNLINK', outbox)
        end
        redis.call('XADD', outbox, '*', unpack(entry))
    end
    redis.call('EXPIRE', outbox, OUTBOX_TTL_S)
end
