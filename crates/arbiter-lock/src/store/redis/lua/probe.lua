-- Finds out whether a script may write after it has asked for the time, as all others do. On
-- Redis 6.2 with `lua-replicate-commands no` it may not.
--
-- KEYS     a key that is never written
-- Returns  'can'
redis.call('TIME')
redis.call('DEL', KEYS[1])
return 'can'
