--@include number
--@include state
--@include stop
--@include wake
--@include envelope
--@include queue
--@include late
-- dequeue: gives a worker as many jobs as it has idle threads and the source has slots. Jobs whose answer is in the
-- cache need no slot. A queue without limits has no window: its jobs come without slots, and of the keys of a window
-- only what an operator has said is read.
--
-- KEYS  queue        (see queue.lua)
--       window       (see state.lua)
--       clears       the log of clears (see clear.lua)
-- ARGV  most         jobs
--       limits       "": none
--       prewarm_fraction   of each limit that the pre-warm lane may fill
--       hold_us      for how long a slot is held at most
--       claim_us     for how long a job is this worker's; renewed four times meanwhile
--       present_us   for how long after that it stays so, as long as the worker's connection is open
--       present      how the names of the channels begin to which workers listen, the rest is the process's name; ""
--                    where that tells nothing
--       suffix       of new claims, which begin with the job's id, a slash, the process's name and a hyphen
--       most_deaths  how often a job's worker may die
--       asked_us, deadline_us   between these the asker expects to be heard (see late.lua); 0: at any time
--       process
--       cost         of a job in slots
--       readiness    "" when the worker takes no suspect, "may" when it can make itself free for one,
--                    "idle" when it has nothing in hand, "free" when it has kept all its threads for one, and
--                    takes nothing else
--       charge       "fetch" | "request": then each job needs a slot
--       seen_before  what it was replied of the epoch before, "" for none (see check_in)
--       in_hand      of each job that the worker has in hand 2: its claim, which is renewed; slots that are
--                    held on as well: the job's, where nobody else ends them; 0: none
-- Replies  now, retry_at, is_called, is_stopped, seen, revoked, jobs
--                    retry_at (us) is when more may come (0: when a worker is notified); seen: what check_in replies, ""
--                    past the deadline, and where there is no window. revoked: claims in hand of jobs that
--                    were cancelled. is_called when a suspect comes, or waits until this worker is free; then
--                    no other job comes. An idle worker is called also where another was before: that one may
--                    have to wait for its jobs. is_stopped where an operator has paused a queue without limits: the worker
--                    gives back what it has not begun. A job is {message, claim, is_held}: one that is held comes with a
--                    held slot of its claim's name, another needs none. Past the deadline nothing is done and none
--                    comes, and retry_at is soon: the worker has given up on this ask. What is long comes in several
--                    replies, as a worker waits for one for a short time only; retry_at is now then
local window = {slots = slots, state = state, fleet = fleet, process = process}
local MOST_LOOKED_AT = 100
-- Messages of so many bytes make a reply full.
local MOST_BYTES = 262144
local MOST_AT_ONCE = 16
local SOON_US = 100000

local now = server_time()
if is_late(now, asked_us, deadline_us) then
    return reply_dequeued(now, now + SOON_US, false, false, '', {}, {})
end
local is_paced = limits ~= ''
-- The functions of the window, which only a queue with limits needs.
local pacing = {}
if is_paced then
--@include window
    pacing = {enter = enter, look = look, hold_all = hold_all, still_held = still_held, extend = extend,
        keep_slots = keep_slots}
end
local seen = is_paced and pacing.enter(window, now, limits, seen_before, suffix) or ''
local is_extended, revoked = false, {}

for i = 1, #in_hand, 2 do
    local claim, used = in_hand[i], tonumber(in_hand[i + 1])
    local is_renewed = redis.call('ZADD', claims, 'XX', 'CH', int(now + claim_us), claim) == 1
    if not is_renewed and redis.call('ZSCORE', claims, claim .. REVOKED) then
        revoked[#revoked + 1] = claim
    end
    -- The job may have been cancelled, lost, or be another worker's by now. What it sends until it has stopped counts in
    -- the window all the same. It may also be over, where its worker had begun this ask before: its slot is committed.
    if used > 0 and (is_renewed or pacing.still_held(slots, now, claim)) then
        pacing.extend(slots, now + hold_us, claim, used)
        is_extended = true
    end
end
if is_extended then
    pacing.keep_slots(slots, math.ceil((window.horizon + hold_us) / 1000) + 1000)
end

local ready_at, is_called, handed_out = 0, false, {}

-- The worker is to come again at that moment; 0 for none.
local function ask_again_at(at)
    if at > 0 and (ready_at == 0 or at < ready_at) then
        ready_at = at
    end
end

-- If no worker has asked for half the length of a claim, the server was away, and no worker could renew its claims.
-- The claims that lapsed in that time, or will soon, hold for a little longer, once.
local stored = redis.pcall('GET', asked)
local last = type(stored) == 'string' and moment(stored) or 0
-- A damaged moment counts as now.
last = last > 0 and last or now
if now - last > claim_us / 2 then
    local grace = claim_us / 2
    local hit = redis.call('ZRANGEBYSCORE', claims, '(' .. int(last + grace), int(now + grace))
    for _, claim in ipairs(hit) do
        redis.call('ZADD', claims, int(now + grace), claim)
    end
end
redis.call('SET', asked, int(now), 'EX', QUEUE_TTL_S)
-- As long as workers ask for jobs, what waits does not expire, even where nothing is queued for days.
if math.floor(now / HOUR_US) ~= math.floor(last / HOUR_US) then
    renew_ttls()
end

-- A claim that ends later than any can was written before the server's clock was set back, or is damaged. Whoever has it,
-- and lives, renews it.
for _, claim in ipairs(redis.call('ZRANGEBYSCORE', claims, int(now + claim_us + REVOKED_US), '+inf', 'LIMIT', 0, 100)) do
    redis.call('ZADD', claims, int(now + claim_us), claim)
end

-- Of some of the claims that have lapsed, with their moments, those that hold no longer, the oldest last.
local function held_by_nobody(found)
    local channels, lapsed = {}, {}
    for i = 1, #found, 2 do
        channels[#channels + 1] = present .. (string.match(found[i], '/(%x+)%-[^/]*$') or '')
    end
    local there = present ~= '' and channels[1] and redis.pcall('PUBSUB', 'NUMSUB', unpack(channels))
    local is_known = there and not there.err
    for i = #found - 1, 1, -2 do
        local until_us = tonumber(found[i + 1])
        local is_there = is_known and there[i + 1] > 0 and until_us + present_us > now
            or not is_known and until_us + claim_us > now
        if is_there then
            ask_again_at(now + claim_us / 4)
        else
            lapsed[#lapsed + 1] = found[i]
        end
    end
    return lapsed
end

-- The claims that have lapsed, as many as are looked at in one, the oldest last. Those of workers whose connection is
-- open are left out: such a worker is alive, and only kept from renewing them by code that holds its interpreter, or by
-- a busy machine. The system closes the connection when the process ends. If Redis does not tell who is connected, a
-- claim holds for twice as long.
local function all_lapsed()
    local at, lapsed, found = 0, {}, nil
    repeat
        found = redis.call('ZRANGEBYSCORE', claims, '-inf', int(now), 'WITHSCORES', 'LIMIT', at, MOST_LOOKED_AT)
        lapsed, at = held_by_nobody(found), at + MOST_LOOKED_AT
    until lapsed[1] or #found < 2 * MOST_LOOKED_AT
    return lapsed
end

-- One of the jobs that a worker had when it died may be the cause. A job whose workers die again and again is put among
-- the dead. The newest claim is handled first, because each job is put in front of those that were handled before it.
for _, lapsed in ipairs(all_lapsed()) do
    local id = job_of(lapsed)
    -- A job that was cancelled is over, and does not come back.
    if redis.call('HEXISTS', jobs, id) == 1 then
        local died = count_up(deaths, id, most_deaths)
        if died >= most_deaths then
            dead_letter(id, now, 'its worker died ' .. died .. ' times', '')
        else
            mark_back(id)
            put_in_front(id)
        end
    end
    -- The claim goes last: a job without a claim that is in no lane would never be queued again.
    redis.call('ZREM', claims, lapsed)
    renew_ttls()
end

-- Whether the cache has the answer of a job by now, so that it needs no slot. Its message is read only then: it may be long.
local function has_answer(id)
    local key = charge == 'fetch' and is_there[keys] and redis.call('HGET', keys, id)
    local entry = key and entry_of(key)
    local message = entry and fresh_until_of(entry, clears) > now and redis.call('HGET', jobs, id)
    return message and is_answered(key, message, clears, now)
end

-- Those go first whose answers have come since they were queued, wherever in their lane they stand, and on nobody's account.
local function bring_forward(id)
    local place = redis.call('ZSCORE', (account_of(id)), id)
    if bounded(place, -MOST_PLACE, MOST_PLACE, 0) > 0 and has_answer(id) then
        put_in_front(id)
        refund(id)
    end
end
local found = is_paced and redis.pcall('ZRANGE', answered, 0, MOST_AT_ONCE - 1) or {}
for _, id in ipairs(found) do
    bring_forward(id)
end
if found[1] then
    redis.call('ZREM', answered, unpack(found))
    ask_again_at(#found == MOST_AT_ONCE and now or 0)
end

local due = is_there[delayed] and redis.call('ZRANGEBYSCORE', delayed, '-inf', int(now), 'LIMIT', 0, 100) or {}
for _, id in ipairs(due) do
    redis.call('ZREM', delayed, id)
    if has_answer(id) then
        put_in_front(id)
    else
        put_in(id, now)
    end
    renew_ttls()
end

-- What the last look at the window has replied.
local status

-- Whether `many` jobs of a lane may go upstream now.
local function fits(many, fraction)
    status = pacing.look(window, now, many * cost, fraction)
    return status.retry_at == 0
end

-- Whether the first job of a lane may go upstream now.
local function may_go(fraction)
    local has_space = fits(1, fraction)
    if not has_space then
        if status.code == GIVING_BACK then
--@include call
            call_for_allowances(window, now)
        end
        ask_again_at(status.retry_at)
    end
    return has_space
end

-- The first jobs of a lane, as many as a reply has room for; those that are over are dropped from it. Messages may be
-- long, so each is read alone: all at once may be more than can be read before the asker gives up.
local function read_lane(lane, many)
    local found, ids = redis.call('ZRANGE', lane, 0, many - 1, 'WITHSCORES'), {}
    for i = 1, #found, 2 do
        ids[#ids + 1] = found[i]
    end
    local fetches = is_there[keys] and ids[1] and redis.call('HMGET', keys, unpack(ids)) or {}
    local waiting, size = {}, 0
    for i, id in ipairs(ids) do
        local message = redis.call('HGET', jobs, id)
        if message then
            waiting[#waiting + 1] = {id = id, message = message, key = fetches[i],
                place = bounded(found[2 * i], -MOST_PLACE, MOST_PLACE, 0)}
            size = size + #message
        else
            take_out(lane, id)
        end
        if size >= MOST_BYTES then
            return waiting
        end
    end
    if ids[1] and not waiting[1] then
        return read_lane(lane, many)
    end
    return waiting
end

-- The jobs that are handed out, but not taken out of their lane yet; the claims that are to get a slot each, but have
-- none yet; and how many bytes the messages of the reply have.
local claimed, unheld, bytes = {}, {}, 0
-- Of the fetches that are handed out, what `pending` is told.
local begun = {}

-- Hands out a job of a lane; is_held: with a slot.
local function hand_out(job, is_held)
    local claim = job.id .. '/' .. suffix .. most
    if is_held then
        unheld[#unheld + 1] = claim
    end
    if job.key then
        begun[#begun + 1], begun[#begun + 2] = '@' .. job.key, int(now)
    end
    claimed[#claimed + 1] = job.id
    handed_out[#handed_out + 1] = {job.message, claim, is_held and 1 or 0}
    bytes = bytes + #job.message
    most = most - 1
end

local function hold_slots()
    if unheld[1] then
        pacing.hold_all(window, now, unheld, cost, hold_us, now, status)
        unheld = {}
    end
end

-- Writes down what was handed out of a lane.
local function leave(lane)
    hold_slots()
    if claimed[1] then
        local new = {}
        for i = #handed_out - #claimed + 1, #handed_out do
            new[#new + 1], new[#new + 2] = int(now + claim_us), handed_out[i][2]
        end
        redis.call('ZADD', claims, unpack(new))
        redis.call('ZREM', lane, unpack(claimed))
        claimed = {}
    end
end

-- How many jobs of a lane, at least, may go upstream now. All of them are looked at in one, where
-- that comes to the same: the pre-warm lane is paced from one slot to the next.
local function may_go_now(lane, fraction)
    local many = math.min(most, redis.call('ZCARD', lane) - #claimed)
    if fraction == 1 and many > 1 and fits(many, fraction) then
        return many
    end
    return may_go(fraction) and 1 or 0
end

local function needs_no_slot(job)
    return not is_paced or charge == 'fetch' and is_answered(job.key, job.message, clears, now)
end

-- Whether one more job may be in the reply: a worker does not wait for long for it.
local function has_room()
    return most > 0 and bytes < MOST_BYTES
end

-- The jobs that stand first in a lane, as many as may be handed out in one go.
local function first_of(lane)
    return has_room() and read_lane(lane, math.min(most, MOST_AT_ONCE)) or {}
end

-- There is no slot: those go that need none.
local function take_answered(lane)
    for _, job in ipairs(read_lane(lane, MOST_LOOKED_AT)) do
        if has_room() and needs_no_slot(job) then
            hand_out(job)
            -- One in front of its lane is on nobody's account.
            if job.place > 0 then
                refund(job.id)
            end
        end
    end
    leave(lane)
end

local function take(lane, fraction)
    local before, allowed, reached, is_limited = #handed_out, 0, 0, false
    local waiting = first_of(lane)
    while waiting[1] and not is_limited do
        for _, job in ipairs(waiting) do
            local is_held = not needs_no_slot(job)
            if is_held and allowed == 0 then
                hold_slots()
                allowed = may_go_now(lane, fraction)
                is_limited = allowed == 0
            end
            if is_limited or not has_room() then
                break
            end
            allowed = is_held and allowed - 1 or allowed
            hand_out(job, is_held)
            reached = job.place
        end
        leave(lane)
        waiting = first_of(lane)
    end
    if is_limited then
        take_answered(lane)
    end
    if #handed_out > before then
        move_on(lane, reached)
    end
end

-- Hands a suspect that may go out to a worker that is free. Any other worker is called, which means that it makes
-- itself free; of those that have jobs in hand only one is called at a time.
local function take_suspect()
    local job = is_there[suspects] and read_lane(suspects, 1)[1]
    if not job then
        return
    end
    local fraction = account_of(job.id) == prewarm and prewarm_fraction or 1
    local caller = redis.pcall('GET', called)
    local is_held = not needs_no_slot(job)
    -- A free worker is never refused: of two that each wait for the other, neither would get the suspect.
    local is_ours = readiness == 'free' or readiness ~= '' and caller == process
        or most > 0 and (readiness == 'idle' or readiness == 'may' and not caller)
    if is_ours and (not is_held or may_go(fraction)) then
        is_called = true
        if readiness == 'free' then
            hand_out(job, is_held)
            leave(suspects)
            redis.call('DEL', called)
        else
            redis.call('SET', called, process, 'PX', int(claim_us / 1000 + 1))
        end
    end
end

-- An operator's pause of a source stops its jobs through the window (see look), so those whose answer is in the cache
-- still go. A queue without a window is stopped here.
local is_stopped = not is_paced and stopped_by(redis.call('HGET', state, 'order'))
if is_stopped then
    redis.call('DEL', bell)
    redis.call('PEXPIRE', state, STATE_TTL_MS)
    ask_again_at(now + STOP_POLL_US)
else
    take_suspect()
end
if not is_stopped and not is_called and readiness ~= 'free' then
    take(interactive, 1)
    take(prewarm, prewarm_fraction)
    if has_room() then
        -- All that the bell was rung for was looked at, and nothing more can go now.
        redis.call('DEL', bell)
    elseif handed_out[1] and redis.call('EXISTS', interactive, prewarm) > 0 then
        -- This worker has no more threads for what is left; another may, which was not told of it.
        notify_worker()
        if most > 0 then
            ask_again_at(now)
        end
    end
end

if begun[1] then
    redis.call('HSET', pending, unpack(begun))
end
if handed_out[1] then
    redis.call('EXPIRE', claims, QUEUE_TTL_S)
    local KEPT_MINUTES, minute = 5, math.floor(now / 60000000)
    -- A damaged key keeps no job from its worker.
    if redis.pcall('HINCRBY', pace, int(minute), #handed_out) == #handed_out then
        for _, old in ipairs(redis.call('HKEYS', pace)) do
            if (tonumber(old) or 0) <= minute - KEPT_MINUTES then
                redis.call('HDEL', pace, old)
            end
        end
        redis.call('EXPIRE', pace, KEPT_MINUTES * 60)
    end
end
local next_due = is_there[delayed] and redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
ask_again_at(moment(next_due))
-- A claim of another worker is looked at as it lapses: that may be dead.
local next_lapse = redis.call('ZRANGEBYSCORE', claims, '(' .. int(now), '(' .. int(now + claim_us), 'WITHSCORES',
    'LIMIT', 0, 1)[2]
ask_again_at(moment(next_lapse))
return reply_dequeued(now, ready_at, is_called, is_stopped, seen, revoked, handed_out)
