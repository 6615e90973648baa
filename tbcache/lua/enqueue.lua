--@include number
--@include wake
--@include envelope
--@include queue
--@include stop
--@include late
--@include token
-- enqueue: queues jobs, or joins those that are queued for the same fetches. An answer that is in the cache is replied,
-- and nothing is queued for it. One that is too big for a reply is left to a worker; that job needs no slot, and goes
-- before all others. A job that is joined gets the better of two places: its own, or the one that a new job of the asker
-- would get; then it is on the asker's account as well. Where another job has the same id, as when a message is sent
-- again while it runs, the new one gets another id.
--
-- A fetch has one job while it waits and while it runs. Where a running job began too early to serve an ask, the ask
-- joins the job that comes after it; see `pending` in queue.lua. So it does where what that job loads is not stored, as it
-- was cleared or removed meanwhile.
--
-- A queue that an operator drains accepts no further job. Of a leader that another has followed nothing is accepted,
-- and nothing is done.
--
-- KEYS  queue      (see queue.lua)
--       state      of the source or the queue (see state.lua)
--       clears     the log of clears (see clear.lua)
--       fence      the highest token of a leader (see token.lua)
-- ARGV  token      the leader's who asks (see lead.lua); 0 for whoever leads nothing
--       lane       "interactive" | "prewarm"
--       delay_us
--       charge     "fetch" | "request": then an answer that is in the cache needs a slot all the same
--       needed     for how many seconds more the answers must be fresh; 0 for any that is
--       after      the fetches must have begun after this moment (s); 0: whenever they have
--       caller     on whose account the jobs are; "" for nobody's
--       stride     how far apart the caller's places in a lane are (see queue.lua)
--       is_requeued    they are dead letters: each that is still one is none any more, and waits again
--       is_follow_up   a job that runs sends them, as part of what was accepted before
--       asked_us       when it was asked, at the earliest, by the server's time
--       deadline_us    0: none (see late.lua)
--       asks       of each job 3: its id, its message, and the key of its fetch; "" to queue it whatever is there
-- Replies  place, id, state, entry   of each ask for which not simply a job of its id was queued: how many asks are before it,
--                    the job in force, "hit" | "joined" | "queued" | "refused" | "gone" (it was no dead letter) | "fenced" |
--                    "late", and the entry of a hit (see envelope.lua), why it is refused, the later token, or the
--                    server's time where it is late
local PARTS = 3
local MOST_ENTRY_BYTES = 16384

local now = server_time()
-- Jobs begin by our clock: the asker's may be ahead of it.
after = math.min(after, now / 1000000)
local account = account_in(lane, stride, caller)
local in_lane = lane == 'prewarm' and prewarm or interactive
local is_changed, is_moved, is_for_workers = false, false, false
local stop, refusal = stopped_by(redis.call('HGET', state, 'order'), not is_follow_up)
local is_drained = stop == 'drained'

-- Of each fetch what `pending` has, where that is something: {its job, when that was handed out, the one after it}; and the
-- ids of other jobs that are taken.
local known, taken, is_accounted = {}, {}, {}
-- False where none of the fetches has an entry in the cache, as mostly where many are queued at once.
local is_any_cached = false

local function is_one_there(fetches)
    local entries = {}
    for _, key in ipairs(fetches) do
        entries[#entries + 1] = entry_of(key)
    end
    return entries[1] and redis.call('EXISTS', unpack(entries)) > 0
end

local function read_pending(fetches)
    local found, parts = redis.call('HMGET', pending, unpack(fetches)), {}
    for i, key in ipairs(fetches) do
        if found[i] and not known[key] then
            known[key] = {found[i]}
            parts[#parts + 1] = '@' .. key
            parts[#parts + 1] = '+' .. key
        end
    end
    found = parts[1] and redis.call('HMGET', pending, unpack(parts)) or {}
    for i = 1, #parts, 2 do
        local job = known[string.sub(parts[i], 2)]
        job[2], job[3] = found[i], found[i + 1]
    end
end

local function read_known()
    local names, ids = {}, {}
    for at = 1, #asks, PARTS do
        local key = asks[at + 2]
        if key == '' then
            ids[#ids + 1] = asks[at]
        else
            names[#names + 1] = key
        end
    end
    if names[1] and is_there[pending] then
        read_pending(names)
    end
    is_any_cached = charge == 'fetch' and is_one_there(names)
    if ids[2] then
        local accounts = redis.call('HMGET', lanes, unpack(ids))
        for i, id in ipairs(ids) do
            taken[id] = accounts[i] and true or false
        end
    end
end

local function is_taken(id)
    if taken[id] == nil then
        -- A single id is not looked up before: whether it is taken shows as its account is written.
        is_accounted[id] = redis.call('HSETNX', lanes, id, account) == 1
        taken[id] = not is_accounted[id]
    end
    return taken[id]
end

-- Until when the answer of a fetch is fresh (us), and its entry; 0 where there is none, or the ask is charged all the
-- same.
local function answer_of(key)
    local entry = is_any_cached and key ~= '' and entry_of(key)
    if not entry then
        return 0
    end
    return fresh_until_of(entry, clears), entry
end

-- The entry of a hit; nil for none. What is put off must be fresh for as long from then on.
local function hit_of(fresh_until_us, name)
    if after > 0 or fresh_until_us <= now + delay_us + needed * 1000000 then
        return nil
    end
    local entry = redis.call('GETRANGE', name, 0, MOST_ENTRY_BYTES)
    return #entry <= MOST_ENTRY_BYTES and entry or nil
end

-- A number (s) as JSON.
local function seconds(number)
    return string.format('%.6f', number)
end

-- The message of a fetch that wants what it did, and what this ask does, whose message is `other`. The arguments stand
-- in it as job.py writes them; in a message that is not JSON nothing is found, and the later one counts.
local function with_wants(message, other)
    local its_needed, its_after = wants_of(message)
    local found, count = message, 1
    if needed > its_needed then
        found, count = string.gsub(found, '("needed": ?)[^,}]+', '%1' .. seconds(needed), 1)
    end
    if after > its_after and its_after > 0 then
        found, count = string.gsub(found, '("after": ?)[^,}]+', '%1' .. seconds(after), 1)
    elseif after > its_after then
        found, count = string.gsub(found, '"needed":', '"after":' .. seconds(after) .. ',"needed":', 1)
    end
    return count == 1 and found or other
end

-- A job serves this ask as well from now on: it is no pre-warm where somebody waits for it. Whether it was one, and
-- its message.
local function strengthen(id, words, other)
    local is_lifted, stronger = lane == 'interactive' and account_of(id) == prewarm, words
    if is_lifted then
        redis.call('HSET', lanes, id, account)
        stronger = string.gsub(stronger, '("lane": ?)"prewarm"', '%1"interactive"', 1)
    end
    if needed > 0 or after > 0 then
        stronger = with_wants(stronger, other)
    end
    if stronger ~= words then
        redis.call('HSET', jobs, id, stronger)
    end
    return is_lifted, stronger
end

-- When something of the source was cleared last (us), whatever it was; 0: it is not known to have been.
local cleared_at
local function last_cleared_at()
    if not cleared_at then
        local head = redis.pcall('GETRANGE', clears, 0, 15)
        cleared_at = type(head) == 'string' and moment(head) or 0
    end
    return cleared_at
end

-- Whether a job that runs, since `begun` (us), serves this ask. What was cleared or removed since then (see dropped.lua) it
-- may have begun to load before: that is not stored, and nobody who asks now would get anything.
local function is_served_by(words, begun)
    if begun <= last_cleared_at() then
        return false
    end
    if needed == 0 and after == 0 then
        return true
    end
    local its_needed, its_after = wants_of(words)
    if after > 0 then
        return its_after > 0 and begun >= after * 1000000
    end
    return its_after > 0 or its_needed >= needed
end

-- A job that waits in the asker's lane.
local function bring_forward(id)
    local place = redis.call('ZSCORE', in_lane, id)
    if place and next_place(tags_of(in_lane), caller) < tonumber(place) then
        redis.call('HSET', lanes, id, account)
        give_place(in_lane, id, stride, caller)
    end
end

local function move(id, is_first)
    local waiting = take_out(prewarm, id) + take_out(interactive, id)
    -- A job that is put off becomes due now only where somebody waits for it.
    if lane == 'interactive' then
        waiting = waiting + redis.call('ZREM', delayed, id)
    end
    if waiting == 0 then
        return
    end
    if is_first then
        put_in_front(id)
    else
        put_in(id, now)
    end
    is_moved, is_for_workers = true, true
end

local function join_waiting(id, key, words, other)
    local is_lifted, stronger = strengthen(id, words, other)
    local is_first = charge == 'fetch' and is_answered(key, stronger, clears, now)
    if is_lifted or is_first then
        move(id, is_first)
    else
        bring_forward(id)
    end
end

-- Jobs are written together: of each hash the fields that it is to have, and who are to have places in the lane.
-- Nothing but what is written here is asked about them before: their ids, and that of each fetch.
local hashes, fields, newcomers, is_new, new_of = {jobs, lanes, keys, pending}, {}, {}, {}, {}
for _, hash in ipairs(hashes) do
    fields[hash] = {}
end

local function write_all()
    for _, hash in ipairs(hashes) do
        if fields[hash][1] then
            redis.call('HSET', hash, unpack(fields[hash]))
            is_there[hash], fields[hash] = true, {}
        end
    end
    if newcomers[1] then
        give_places(in_lane, tags_of(in_lane), newcomers, stride, caller)
        newcomers = {}
    end
end

local function set(hash, field, value)
    local some = fields[hash]
    some[#some + 1] = field
    some[#some + 1] = value
end

local function write(id, message, key, pending_as)
    if is_requeued then
        -- Those who waited for it were told that it died. Those who wait from now on must not be told so, unless another
        -- job has taken its place: by its own id nothing comes any more.
        redis.call('DEL', result_of(id))
    end
    set(jobs, id, message)
    if not is_accounted[id] then
        set(lanes, id, account)
    end
    if key ~= '' then
        set(keys, id, key)
        set(pending, pending_as, id)
    end
    is_changed = true
end

local place, replies = 0, {}
local function reply(id, state, entry)
    replies[#replies + 1] = reply_otherwise(place, id, state, entry)
end

-- is_first: it needs no slot.
local function queue(id, message, key, is_first)
    if is_drained then
        return reply(id, 'refused', refusal)
    end
    local asked = id
    while key == '' and (is_new[id] or is_taken(id)) do
        id = id .. '+'
    end
    if id ~= asked then
        reply(id, 'queued', '')
    end
    is_new[id], new_of[key] = true, key ~= '' and id or nil
    write(id, message, key, key)
    if delay_us > 0 then
        return put_off(id, now + delay_us)
    end
    if is_first then
        write_all()
        put_in_front(id)
    else
        newcomers[#newcomers + 1] = id
    end
    is_for_workers = true
end

-- Has one more job run after the one that runs: the one that is queued for that already, or a new one. Its id; nil where
-- the queue takes none.
local function follow(id, message, key, next_id)
    local words = next_id and redis.call('HGET', jobs, next_id)
    if words then
        strengthen(next_id, words, message)
        reply(next_id, 'joined', '')
        return next_id
    end
    if is_drained then
        return reply(id, 'refused', refusal)
    end
    write(id, message, key, '+' .. key)
    write_all()
    return id
end

-- That of a leader that has followed the asker; 0 for none.
local later = token > 0 and later_token(fence, token) or 0

local function ask(id, message, key)
    if later > 0 then
        return reply(id, 'fenced', int(later))
    end
    if is_late(now, asked_us, deadline_us) then
        return reply(id, 'late', int(now))
    end
    if is_requeued then
        if is_drained then
            return reply(id, 'refused', refusal)
        end
        if not exhume(id) then
            return reply(id, 'gone', '')
        end
    end
    if new_of[key] then
        return reply(new_of[key], 'joined', '')
    end
    local found = known[key] or {}
    local fresh_until_us, name = answer_of(key)
    local entry = name and not is_requeued and hit_of(fresh_until_us, name)
    local words = found[1] and redis.call('HGET', jobs, found[1])
    if words and not found[2] and not entry then
        join_waiting(found[1], key, words, message)
    elseif words and not found[2] and is_answered(key, words, clears, now) then
        -- This ask is a hit, and demands nothing more of the job. The job has its answer in the cache as well, and stays
        -- for those who wait for it.
        move(found[1], true)
    end
    if entry then
        return reply(words and found[1] or id, 'hit', entry)
    end
    if not words then
        return queue(id, message, key, after == 0 and fresh_until_us > now + needed * 1000000)
    end
    if not found[2] then
        return reply(found[1], 'joined', '')
    end
    if is_served_by(words, moment(found[2])) then
        -- If the job is tried again, it has to serve this ask as well.
        strengthen(found[1], words, message)
        return reply(found[1], 'joined', '')
    end
    found[3] = follow(id, message, key, found[3])
end

read_known()
for at = 1, #asks, PARTS do
    ask(asks[at], asks[at + 1], asks[at + 2])
    place = place + 1
end
write_all()
if is_for_workers then
    notify_worker()
end
if is_moved then
    renew_ttls()
elseif is_changed then
    renew_ttls({jobs, lanes, delay_us > 0 and delayed or in_lane, tags_of(in_lane)})
    renew_ttls(is_there[keys] and {pending, keys} or {})
end
return replies
