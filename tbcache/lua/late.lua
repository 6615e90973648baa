-- late: whether an ask comes too late, or by another time than its process knows.

-- Past its deadline the process has given up on it, or the server's clock was set forward. Before it was asked, that clock was
-- set back: by less than an ask may take it may just be corrected.
local function is_late(now, asked_us, deadline_us)
    return deadline_us > 0 and (now > deadline_us or now < 2 * asked_us - deadline_us)
end
