-- How long the shared holds of a name last.

-- Both keys live as long as the longest hold. It stands last in a script, and names no point in
-- time: a server's clock goes on within a script (before 7.2), so a slow one would delete a key at
-- once whose time has come, and what the rest of the script writes would stay for ever.
local function follow_longest(lock, share)
  local longest = redis.call('ZREVRANGE', share, 0, 0, 'WITHSCORES')[2]
  local life = text(math.max(tonumber(longest) - now_ms, 1))
  redis.call('PEXPIRE', lock, life)
  redis.call('PEXPIRE', share, life)
end

-- Sets the last millisecond of a hold's life. A first step that adds would be refused at the memory
-- limit.
local function keep(share, id, milli)
  redis.call('ZREM', share, 'h' .. id)
  redis.call('ZADD', share, text(milli), 'h' .. id)
end
