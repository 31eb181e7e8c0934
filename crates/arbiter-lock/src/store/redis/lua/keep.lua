-- How long the shared holds of a name last.

-- Both keys live as long as the longest hold; a server deletes at once what would end just now.
local function follow_longest(lock, share)
  local longest = redis.call('ZREVRANGE', share, 0, 0, 'WITHSCORES')[2]
  longest = text(math.max(tonumber(longest), now_ms + 1))
  redis.call('PEXPIREAT', lock, longest)
  redis.call('PEXPIREAT', share, longest)
end

-- Sets the last millisecond of a hold's life.
local function keep(lock, share, id, milli)
  redis.call('ZADD', share, text(milli), 'h' .. id)
  follow_longest(lock, share)
end
