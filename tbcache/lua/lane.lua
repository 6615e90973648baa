--@include limit
-- lane: how many interactive asks there were lately, which tells how much the pre-warm lane has to leave for them.

-- The rate at which interactive slots were taken lately (per us). It is an exponential mean over one shortest window.
local function demand_of(rate, at, now, memory)
    return bounded(rate, 0, MOST_SLOTS, 0) * math.exp(-(now - bounded(at, 0, now, now)) / memory)
end
