-- Finds out, before anything is written, whether the scripts may do what they do: write after they
-- have asked for the time, which on Redis 6.2 with `lua-replicate-commands no` they may not, and
-- call every command that they call. One that was denied in the middle of a script would leave a
-- key without an end. Only HSET cannot be asked for without writing; it comes before all that
-- needs it.
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
