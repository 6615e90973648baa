-- probe: finds out whether the server accepts what the other scripts do. It is refused wherever they would be.
-- KEYS  probe   STRING
-- ARGV  ttl_ms  for how long the key stays
-- Replies OK.
return redis.call('SET', probe, '1', 'PX', ttl_ms)
