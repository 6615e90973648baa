--@include member
--@include usage
-- budget: what a source has cost today, and whether its budget has room for more. Money is in millionths of a dollar.

local BUDGET = 'budget'
local BUDGET_POLL_US = 100000
local RESERVED_POLL_US = 5000000
local DAY_US = 86400000000
local MOST_MONEY = 9007199254740992

local function next_midnight(now)
    return (math.floor(now / DAY_US) + 1) * DAY_US
end

-- Reads a sum of money as HINCRBY writes it. In any other form nothing more could be added to it.
local function money(text)
    local sum = bounded(text, 0, MOST_MONEY)
    return sum and int(sum) == text and sum
end

-- What the day has cost so far; nil where that cannot be read: the key has another type, or the user has no right to it.
-- A damaged sum is made anew of what each worker has paid, if none of that is damaged.
local function spent_of(usage_key)
    local found = redis.pcall('HGET', usage_key, 'spent')
    if type(found) == 'table' then
        return nil
    end
    local spent = money(found or '0')
    if spent then
        return spent
    end
    local figures, sum = redis.call('HGETALL', usage_key), 0
    for i = 1, #figures, 2 do
        if string.find(figures[i], ':cost$') then
            local paid = money(figures[i + 1])
            if not paid then
                return nil
            end
            sum = sum + paid
        end
    end
    redis.call('HSET', usage_key, 'spent', int(sum))
    return sum
end

local function flying_of(slots_key, now)
    return redis.call('ZCOUNT', slots_key, '(' .. int(now), '+inf')
end

-- The sums of the purses (see purse.lua) of the other processes: of those that are absent or gone, and of all. One that
-- is damaged counts as its process's share of the whole budget, as it was no more.
local function purses_of(window, purses_key, now, budget)
    local purses, absent, all = redis.pcall('HGETALL', purses_key), 0, 0
    for i = 1, #purses, 2 do
        local process, purse = purses[i], bounded(purses[i + 1], 0, MOST_MONEY)
        if process ~= window.process then
            purse = purse or budget * bounded(redis.call('HGET', window.state, 'share:' .. process), 0, 1, 0)
            local last_seen_at = tonumber(redis.call('ZSCORE', window.fleet, process) or 0)
            local silence = bounded(redis.call('HGET', window.state, 'silence:' .. process), 0, HOUR_US, ABSENT_US)
            local is_overdue = last_seen_at < now - silence or last_seen_at > now
            absent = absent + (is_overdue and purse or 0)
            all = all + purse
        end
    end
    return absent, all
end

-- Records when the budget was first found to be spent, in the figures of the day.
local function record_spent(usage_key, now, budget)
    if budget > 0 and (spent_of(usage_key) or 0) >= budget then
        redis.pcall('HSETNX', usage_key, 'spent_at.' .. int(budget), int(now))
    end
end

-- Whether the day's budget (0: none) has room for one more page. The pages that are under way count as `page_price` for
-- each slot, so the budget is exceeded by one page at most. The purses of absent processes are reserved for them.
-- `mine` is how many slots the asker itself holds. Replies when to ask again (0: there is room), and why.
local function look_at_budget(window, usage_key, purses_key, now, budget, page_price, mine)
    if budget == 0 then
        return 0
    end
    local spent = spent_of(usage_key)
    if not spent then
        return now + RESERVED_POLL_US, 'what the day has cost cannot be read, and counts as all of its budget'
    end
    if spent >= budget then
        record_spent(usage_key, now, budget)
        return next_midnight(now), "the day's budget is spent"
    end
    local reserved = purses_of(window, purses_key, now, budget)
    if spent + reserved >= budget then
        return now + RESERVED_POLL_US, "the rest of the day's budget is kept for processes that are absent"
    end
    local flying = flying_of(window.slots, now) - mine
    if flying > 0 and spent + reserved + flying * page_price >= budget then
        return now + BUDGET_POLL_US, "the rest of the day's budget is for the pages under way"
    end
    return 0
end

-- Adds an amount to the day's bill, which is to stay within `budget` (0: none).
local function pay(usage_key, now, worker, budget, amount)
    count(usage_key, worker, 'cost', amount)
    redis.pcall('HINCRBY', usage_key, 'spent', amount)
    record_spent(usage_key, now, budget)
end

-- Adds the cost of an answer: `amount`, and the prices of the items that were not billed earlier today. `once` has the
-- id of each such item, followed by its price (millionths of a dollar).
local function bill(usage_key, billed_key, now, worker, budget, amount, once)
    for i = 1, #once, 2 do
        -- Where the set cannot be written, nobody knows what was billed before, so the item is billed once more.
        local is_new = redis.pcall('SADD', billed_key, once[i])
        amount = amount + (type(is_new) == 'number' and is_new or 1) * tonumber(once[i + 1])
    end
    if once[1] then
        redis.pcall('EXPIRE', billed_key, 2 * 86400)
    end
    if amount > 0 then
        pay(usage_key, now, worker, budget, amount)
    end
end
