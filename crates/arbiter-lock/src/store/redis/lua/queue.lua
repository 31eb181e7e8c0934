-- The queue and the hand-over, for acquire, end and break.
--
-- KEYS[1]  the hash of the lock; KEYS[2] the last fence; KEYS[3] the queue, a sorted set:
--   w<body> ticket        a waiter; its body is "id lease_ms channel label"
--   s<body> -microseconds when it looked last
--   p<body> -ticket       a waiter that was passed over, until it looks
--   m<id>   -microseconds a request that was granted: its place is consumed
--   t<id>   -microseconds a request that was ended with an acquire unanswered
--   g       -microseconds the latest grant, unless its holder has ended it
--   f       -microseconds the floor: who has not looked since is not live

-- Forgets what has not been touched for a minute.
local function prune()
  local old = call('ZRANGEBYSCORE', queue, '(' .. text(60000000 - now), '(0', 'LIMIT', 0, 1000)
  for _, record in ipairs(old) do
    call('ZREM', queue, record, 'w' .. string.sub(record, 2))
  end
end

local function touch(...)
  call('ZADD', queue, ...)
  call('PEXPIRE', queue, 60000)
end

-- A free lock whose latest grant was not ended: that grant has lapsed. Answers the floor.
local function floor()
  local found = call('ZMSCORE', queue, 'g', 'f')
  local granted, low = tonumber(found[1] or 1), tonumber(found[2] or 1)
  if granted < 0 then
    call('ZREM', queue, 'g')
    low = math.min(low, granted)
    call('ZADD', queue, text(low), 'f')
  end
  return -low
end

local function is_live(body, low)
  local seen = -tonumber(call('ZSCORE', queue, 's' .. body) or 0)
  if seen == 0 or seen <= low or 2500000 < now - seen then
    return false
  end
  return true
end

local function listens(channel)
  local count = redis.pcall('PUBSUB', 'NUMSUB', channel)
  return count.err ~= nil or 0 < count[2]
end

-- The lock is free: grants the first live waiter. `mine` is the caller's body, if it may be
-- granted; its fence is answered. The second answer: the bound was reached, there is more.
-- The third: somebody was granted.
local function hand_over(mine, mine_has_queued, mine_life)
  local low = floor()
  for _ = 1, 32 do
    local head = call('ZRANGEBYSCORE', queue, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not head[1] then
      return nil, false, false
    end
    local body = string.sub(head[1], 2)
    local id, lease, channel, label = string.match(body, '^(%S+) (%S+) (%S+) (.*)$')
    call('ZREM', queue, head[1])
    if body == mine then
      call('ZREM', queue, 's' .. body)
      if mine_has_queued then
        touch('-' .. now_text, 'm' .. id, '-' .. now_text, 'g')
      else
        touch('-' .. now_text, 'g')
      end
      return hold(id, lease, mine_life, label), false, true
    end
    local live = is_live(body, low) and listens(channel)
    call('ZREM', queue, 's' .. body)
    if live then
      local life = math.min(tonumber(lease), 2000)
      touch('-' .. now_text, 'm' .. id, '-' .. now_text, 'g')
      local fence = hold(id, lease, life, label)
      redis.pcall('PUBLISH', channel, id .. ' ' .. fence .. ' ' .. life .. ' ' .. now_text)
      return nil, false, true
    end
    call('ZADD', queue, text(-tonumber(head[2])), 'p' .. body)
  end
  return nil, 0 < call('ZCOUNT', queue, '(0', '+inf'), false
end
