--@include said
-- weight: an operator sets the weight of a caller, or takes it back.
--
-- KEYS  weights   caller -> what was said of it (see said.lua)
-- ARGV  caller
--       weight    "-" to take back what was set
--       since     0: it is said now; else it was said then (us), and Redis may have lost it
--       who
--       why       "" for no reason
-- Replies  before, stands, limits_before, limits   what stood until now, and what stands from now on, "" for nothing;
--          "", ""
local WEIGHTS_TTL_S = 366 * 86400
local before, stands = say(weights, caller, weight, since, who, why)
redis.call('EXPIRE', weights, WEIGHTS_TTL_S)
return reply_ordered(before, stands, '', '')
