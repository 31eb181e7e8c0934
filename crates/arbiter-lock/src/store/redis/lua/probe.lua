-- Checks, before anything is written, that the scripts may write after they have read the time, and
-- may call all their commands. On Redis 6.2 with `lua-replicate-commands no` they may not write
-- then. A command that is denied in the middle of a script would leave a key without an end. Only
-- HSET cannot be checked without writing; the scripts call it before all that needs it.
--
-- KEYS     a key that is never written
-- Returns  'can'
local call, key = redis.call, KEYS[1]
call('TIME')
-- Deletes first: at the memory limit a first write that adds would be refused.
call('DEL', key)
call('EXISTS', key)
call('PTTL', key)
call('PEXPIRE', key, 1)
call('PEXPIREAT', key, 1)
call('SET', key, '', 'XX')
call('HGET', key, 'f')
call('HMGET', key, 'f')
call('HGETALL', key)
call('HDEL', key, 'f')
call('ZADD', key, 'XX', 0, 'm')
call('ZREM', key, 'm')
call('ZREMRANGEBYSCORE', key, 0, 0)
call('ZSCORE', key, 'm')
call('ZMSCORE', key, 'm')
call('ZCARD', key)
call('ZCOUNT', key, 0, 0)
call('ZRANGEBYSCORE', key, 0, 0)
call('ZREVRANGE', key, 0, 0)
call('ZREVRANGEBYSCORE', key, 0, 0)
return 'can'
