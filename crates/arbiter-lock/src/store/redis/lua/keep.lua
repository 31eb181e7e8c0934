-- How long the shared holds of a name last.

local function longest_of(share)
  return tonumber(redis.call('ZREVRANGE', share, 0, 0, 'WITHSCORES')[2])
end

-- Both keys live so long; a server deletes at once what would end just now.
local function live_until(lock, share, milli)
  milli = text(math.max(milli, now_ms + 1))
  redis.call('PEXPIREAT', lock, milli)
  redis.call('PEXPIREAT', share, milli)
end

-- Both keys live as long as the longest hold.
local function follow_longest(lock, share)
  live_until(lock, share, longest_of(share))
end

-- Sets the last millisecond of a hold's life, which it never shortens. A new life of the keys
-- comes first: at the memory limit a first value would be refused.
local function keep(lock, share, id, milli)
  live_until(lock, share, math.max(longest_of(share), milli))
  redis.call('ZADD', share, text(milli), 'h' .. id)
end
