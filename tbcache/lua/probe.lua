-- probe: does the server accept what the other scripts do? It is refused wherever they would be.
-- KEYS  1 probe   STRING
-- ARGV  1 how long it stays (ms)
-- Replies OK.
return redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
