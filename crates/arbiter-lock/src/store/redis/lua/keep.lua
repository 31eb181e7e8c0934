-- How long the shared holds of a name last.

-- Gives both keys the TTL of the longest hold. It comes last in a script, and uses a relative TTL.
-- Before 7.2, the server's clock advances within a script. In a slow script, a passed point in time
-- would delete the key at once, and the rest of the script would write a key without an end.
local function follow_longest(lock, share)
  local longest = redis.call('ZREVRANGE', share, 0, 0, 'WITHSCORES')[2]
  local ttl = text(math.max(tonumber(longest) - now_ms, 1))
  redis.call('PEXPIRE', lock, ttl)
  redis.call('PEXPIRE', share, ttl)
end

-- Sets the last millisecond of a hold's TTL. A first step that adds would be refused at the memory
-- limit.
local function keep(share, id, milli)
  redis.call('ZREM', share, 'h' .. id)
  redis.call('ZADD', share, text(milli), 'h' .. id)
end
