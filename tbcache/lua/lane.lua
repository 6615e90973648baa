--@include limit
-- lane: how many interactive asks there were of late, for the pre-warm lane's sake.

-- Interactive slots taken per us, of late: counted with a memory of one shortest window.
local function demand_of(rate, at, now, memory)
    return tonumber(rate or 0) * math.exp(-math.max(0, now - tonumber(at or now)) / memory)
end
