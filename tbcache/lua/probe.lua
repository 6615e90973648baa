-- probe: does the server accept what the other scripts do? It is refused wherever they would be.
-- KEYS  probe   STRING
-- ARGV  ttl_ms  how long it stays
-- Replies OK.
return redis.call('SET', probe, '1', 'PX', ttl_ms)
