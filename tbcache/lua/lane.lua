--@include limit
-- lane: how many interactive asks there were lately, which tells how much the pre-warm lane has to leave for them.

-- The rate at which interactive slots were taken lately (per us). It is an exponential mean over one shortest window.
local function demand_of(rate, at, now, memory)
    return tonumber(rate or 0) * math.exp(-math.max(0, now - tonumber(at or now)) / memory)
end
