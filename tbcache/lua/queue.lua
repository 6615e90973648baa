--@include place
-- queue: the parts of one queue, all under $ns:{queue}:queue:. That of a source has the source's name, and its
-- jobs take slots of the source's window; any other has no window.
--
-- interactive  ZSET  job id -> its place: somebody waits for these. The least is first
-- prewarm      ZSET  job id -> its place: nobody does; taken when no interactive job may go
-- suspects     ZSET  job id -> its place: their workers died twice. One of them may have killed them, so each is
--                    given to a worker that has nothing else in hand, before all others. After its
--                    first death a job is in front of its lane: most deaths are no job's fault, and
--                    one at a time a dead worker's jobs would wait long
-- interactive-tags  ZSET  caller -> where its next job would begin, its finish tag; "" -> the virtual time of the
--                    lane. A lane that is empty has none (see give_place)
-- prewarm-tags      ZSET  the same of the other lane
-- delayed      ZSET  job id -> due (us): retries and spread-out pre-warms, in Redis, by time
-- claims       ZSET  claim -> until (us): jobs in a worker's hands; renewed while it lives. A claim
--                    is one hand-out of a job, "<job id>/<unique>", and the slot that came with it
--                    has the same name: who has it, and nobody else, renews it and says what
--                    became of the job. One of a job that was cancelled meanwhile is revoked: "<claim>/!" is in
--                    its place for REVOKED_US, and the worker is told so as it renews it
-- jobs         HASH  job id -> message (JSON); a job whose message is gone is over
-- lanes        HASH  job id -> "<lane> <stride> <caller>": the lane it belongs to; on whose account its places in it
--                    are, and how far apart those of that caller lie, a million over its weight, with zeros before
--                    it. Of an earlier layout the lane alone, which is nobody's
-- pending      HASH  fetch key -> job id: the same fetch is queued once. "@" .. fetch key -> when that job was handed
--                    out (us), while it is in a worker's hands; 0 where what it loads was removed since. "+" .. fetch key -> the id of one more job, which
--                    waits in no lane until that one is over: for asks that it does not serve
-- keys         HASH  job id -> fetch key
-- tries        HASH  job id -> how often it failed
-- deaths       HASH  job id -> how often its worker died
-- dead         ZSET  job id -> died at (us)      dead-jobs  HASH  job id -> message
-- reasons      HASH  job id -> why it is dead. "@" .. job id -> when and why it was put off last: "<us> <1: a try has
--                    failed, 0: none has> <words>", without words where whoever queued it has asked for that
-- pace         HASH  minute since 1970 -> how many jobs were handed out in it; the last few
-- bell         LIST  has an element when jobs came that no consumer has asked for; idle consumers pop it
-- asked        STRING  when a worker last asked for jobs (us)
-- called       STRING  the process that makes itself free for a suspect; it expires
-- answered     ZSET  job id -> 0: those whose answers have come into the cache since they were queued (see answered.lua)
--
-- Included; queue/script.py lists its keys, by these names, with `_` for `-`.

local RESULT_TTL_MS = 600000
local MOST_DEAD = 10000
local REVOKED, REVOKED_US = '/!', 60000000
local SUSPECT_DEATHS = 2

-- The parts that hold jobs; the others have times of their own.
local parts = {interactive, prewarm, suspects, interactive_tags, prewarm_tags, delayed, claims, jobs, lanes, pending, keys, tries, deaths, dead,
    dead_jobs, reasons}

local function tags_of(lane)
    return lane == prewarm and prewarm_tags or interactive_tags
end

-- Before layout 3 these were LISTs: their jobs keep their order.
local function take_over(lane)
    local ids = redis.call('LRANGE', lane, 0, -1)
    redis.call('DEL', lane)
    for place, id in ipairs(ids) do
        redis.call('ZADD', lane, place, id)
    end
    redis.call('EXPIRE', lane, QUEUE_TTL_S)
    if lane ~= suspects then
        local tags = tags_of(lane)
        redis.call('ZADD', tags, #ids, '')
        redis.call('EXPIRE', tags, QUEUE_TTL_S)
    end
end

-- A key of another type ends a script here, before it has changed anything: half of a change may be a job that is
-- in no lane, or that is claimed and nobody has. One command looks at all sorted sets.
local function check_sets(how)
    return how('ZINTERCARD', 8, interactive, prewarm, suspects, interactive_tags, prewarm_tags, delayed, claims, dead,
        'LIMIT', 1)
end
if type(check_sets(redis.pcall)) ~= 'number' then
    for _, lane in ipairs({interactive, prewarm, suspects}) do
        if type(redis.pcall('ZCARD', lane)) ~= 'number' then
            take_over(lane)
        end
    end
    check_sets(redis.call)
end
--@include bell
for _, hash in ipairs({jobs, lanes}) do
    redis.call('HEXISTS', hash, '')
end
-- The parts that are mostly not there, and whether each is. The first six are hashes.
local rare = {pending, keys, tries, deaths, dead_jobs, reasons, delayed, suspects}
local is_there, unseen = {}, redis.call('EXISTS', unpack(rare))
for i, part in ipairs(rare) do
    if unseen > 0 and redis.call(i <= 6 and 'HLEN' or 'ZCARD', part) > 0 then
        is_there[part], unseen = true, unseen - 1
    end
end

-- Has parts of the queue live on: those that are named, or all.
local function renew_ttls(some)
    for _, part in ipairs(some or parts) do
        redis.call('EXPIRE', part, QUEUE_TTL_S)
    end
end

local function job_of(claim)
    return string.match(claim, '^(.*)/') or claim
end

-- Revokes the claims of a job that is over, so that the worker that has it in hand is told. Whatever that worker says of
-- such a claim from then on is about no job, not even about one of the same id that was queued again.
local function revoke(id, now)
    for _, claim in ipairs(redis.call('ZRANGE', claims, 0, -1)) do
        if job_of(claim) == id then
            -- The order matters: Redis removes a set that becomes empty, and one that is made anew has no TTL.
            redis.call('ZADD', claims, int(now + REVOKED_US), claim .. REVOKED)
            redis.call('ZREM', claims, claim)
        end
    end
end

-- The list $ns:{source}:result:<job id> lies in the hash slot of the queue, so that a cluster finds it.
local function result_of(id)
    return string.match(interactive, '^(.*):queue:') .. ':result:' .. id
end

-- Gives those who wait for the job its result (JSON): one element of a list that they only look at. For a job that has
-- no result ("") nobody waits.
local function answer(id, result)
    if result ~= '' then
        wake(result_of(id), result, RESULT_TTL_MS)
    end
end

-- Reads the sequence of the source's last clear (see clear.lua) whose sweep is not over; 0 where there is none.
local cleared
local function last_clear(log_key)
    if not cleared then
        local head = redis.pcall('GETRANGE', log_key, 0, 16)
        local is_none = type(head) ~= 'string' or string.sub(head, 17) == ''
        cleared = is_none and 0 or tonumber(string.sub(head, 1, 16)) or math.huge
    end
    return cleared
end

-- The name of the entry that a fetch writes into the cache (see admit.lua). It is made of the fetch key, where its tag
-- is the queue's own: so it lies in the same hash slot, and a cluster finds it. nil for any other key.
local entry_of
do
    local namespace, tag = string.match(interactive, '^(.-):{(.-)}')
    local entry_head, key_head = namespace .. ':cache:{' .. tag .. '}', tag .. ':'
    function entry_of(key)
        if string.sub(key, 1, #key_head) ~= key_head then
            return nil
        end
        return entry_head .. string.sub(key, #key_head)
    end
end

-- Reads until when an entry is fresh (us); 0 where there is no entry. An entry that is older than a clear whose sweep
-- is not over does not count, whatever that clear hides.
local function fresh_until_of(entry, log_key)
    local head = redis.pcall('GETRANGE', entry, 0, STAMPS_BYTES - 1)
    if type(head) ~= 'string' or head == '' or birth_of(head) < last_clear(log_key) then
        return 0
    end
    return fresh_until(head)
end

-- Reads from its message what a fetch wants of its answer: for how many seconds more it must be fresh, and after which
-- moment (s) its load must have begun (0: at any time).
local function wants_of(message)
    local is_json, job = pcall(cjson.decode, message)
    if not is_json or type(job) ~= 'table' or type(job.kwargs) ~= 'table'
        or string.sub(tostring(job.actor_name), 1, 6) ~= 'fetch.' then
        return 0, 0
    end
    return tonumber(job.kwargs.needed) or 0, tonumber(job.kwargs.after) or 0
end

-- Whether the cache has the answer that a job would fetch, for as long as the job needs it.
local function is_answered(key, message, log_key, now)
    local entry = key and entry_of(key)
    local fresh_until_us = entry and fresh_until_of(entry, log_key) or 0
    if fresh_until_us <= now then
        return false
    end
    local needed, after = wants_of(message)
    return after == 0 and fresh_until_us > now + needed * 1000000
end

-- The lane of a job, its stride and its caller.
local function account_of(id)
    local account = redis.call('HGET', lanes, id) or ''
    local stride, caller = string.match(account, ' (%d+) (%S+)$')
    return string.find(account, '^prewarm') and prewarm or interactive, bounded(stride, 0, MOST_PLACE, 0), caller or ''
end

local function is_suspect(id)
    local died = is_there[deaths] and redis.call('HGET', deaths, id) or 0
    return (tonumber(died) or SUSPECT_DEATHS) >= SUSPECT_DEATHS
end

-- Puts a job in front of its lane, or of the suspects. All other places are above 0, so it comes before them. No
-- caller's account is charged, because the job has had its turn, or needs none.
local function put_in_front(id)
    local lane = is_suspect(id) and suspects or (account_of(id))
    local first = bounded(redis.call('ZRANGE', lane, 0, 0, 'WITHSCORES')[2], -MOST_PLACE, MOST_PLACE, 0)
    redis.call('ZADD', lane, int(math.min(first, 0) - 1), id)
    is_there[lane] = true
end

local function give_place(lane, id, stride, caller)
    give_places(lane, tags_of(lane), {id}, stride, caller)
end

-- Puts a job in its lane, or behind the suspects.
local function put_in(id, now)
    if is_suspect(id) then
        redis.call('ZADD', suspects, int(now), id)
        is_there[suspects] = true
    else
        local lane, stride, caller = account_of(id)
        give_place(lane, id, stride, caller)
    end
end

-- Records that jobs have left a lane. The last of them that left in its turn had that place.
local function move_on(lane, place)
    if redis.call('ZCARD', lane) == 0 then
        redis.call('DEL', tags_of(lane))
    else
        redis.call('ZADD', tags_of(lane), 'GT', int(place), '')
    end
end

-- Takes a job out of a lane before its turn. Replies how many jobs that were, 0 or 1.
local function take_out(lane, id)
    local many = redis.call('ZREM', lane, id)
    if many > 0 and lane ~= suspects then
        move_on(lane, 0)
    end
    return many
end

-- Takes a job out of every place where it waits. Replies how many those were: 0 where a worker has the job.
local function take_away(id)
    return take_out(suspects, id) + take_out(interactive, id) + take_out(prewarm, id) + redis.call('ZREM', delayed, id)
end

-- Gives a caller's account back what a job was charged that has taken no slot, so that the caller's next jobs come so
-- much earlier.
local function refund(id)
    local lane, stride, caller = account_of(id)
    if caller ~= '' then
        redis.call('ZADD', tags_of(lane), 'XX', 'INCR', -stride, caller)
    end
end

-- Puts a job off until it is due (us). If no other job is due earlier, a worker is notified that waits for a later one,
-- or for none: it learns with its next ask when to come.
local function put_off(id, due)
    redis.call('ZADD', delayed, int(due), id)
    is_there[delayed] = true
    if redis.call('ZRANGE', delayed, 0, 0)[1] == id then
        notify_worker()
    end
end

-- Records that no worker has the job any more, and that it waits again.
local function mark_back(id)
    local key = is_there[keys] and redis.call('HGET', keys, id)
    if key then
        redis.call('HDEL', pending, '@' .. key)
    end
end

-- Gives the place of a job that is over to the one that waited for it, as both are of the same fetch.
local function promote(key, id, now)
    if redis.call('HEXISTS', jobs, id) == 1 then
        redis.call('HSET', pending, key, id)
        put_in(id, now)
        notify_worker()
        renew_ttls()
    end
end

-- Records that a job is over, and is no longer the job of its fetch.
local function leave_fetch(id, key, now)
    local found = redis.call('HMGET', pending, key, '+' .. key)
    if found[1] == id then
        redis.call('HDEL', pending, key, '@' .. key, '+' .. key)
        if found[2] then
            promote(key, found[2], now)
        end
    elseif found[2] == id then
        redis.call('HDEL', pending, '+' .. key)
    end
end

-- Jobs are over: nothing of them is left but, maybe, their graves.
local function forget(ids, now)
    local fetches = is_there[keys] and redis.call('HMGET', keys, unpack(ids)) or {}
    for i, id in ipairs(ids) do
        if fetches[i] then
            leave_fetch(id, fetches[i], now)
        end
    end
    for _, part in ipairs({jobs, lanes, keys, tries, deaths}) do
        if part == jobs or part == lanes or is_there[part] then
            redis.call('HDEL', part, unpack(ids))
        end
    end
    for _, id in ipairs(is_there[reasons] and ids or {}) do
        redis.call('HDEL', reasons, '@' .. id)
    end
end

-- Counts one more in tries or deaths; a number that is damaged, and cannot be counted on, counts as
-- the most.
local function count_up(part, id, most)
    local counted = redis.pcall('HINCRBY', part, id, 1)
    is_there[part] = true
    return type(counted) == 'number' and counted or most
end

-- Takes a job from among the dead; false where it is not there.
local function exhume(id)
    local was_dead = redis.call('ZREM', dead, id) == 1
    redis.call('HDEL', dead_jobs, id)
    redis.call('HDEL', reasons, id)
    return was_dead
end

-- Puts the job among the dead, and gives those who wait for it the reason, or the result.
local function dead_letter(id, now, reason, result)
    local message = redis.call('HGET', jobs, id)
    if message then
        redis.call('ZADD', dead, int(now), id)
        redis.call('HSET', dead_jobs, id, message)
        redis.call('HSET', reasons, id, reason)
        -- For a job that is no fetch nobody waits.
        if is_there[keys] and redis.call('HEXISTS', keys, id) == 1 then
            answer(id, result ~= '' and result or cjson.encode({message = reason}))
        end
        -- The oldest dead jobs are dropped: an upstream that is down for a day must not fill Redis.
        for _, old in ipairs(redis.call('ZRANGE', dead, 0, -MOST_DEAD - 1)) do
            exhume(old)
        end
    end
    forget({id}, now)
end
