-- The queue and the hand-over, for every script that grants.
--
-- KEYS[3]  a sorted set:
--   w<body> ticket        a waiter; its body is "id lease_ms kind channel label"
--   s<body> -microseconds when it looked last
--   l<body> ticket / 2^60 a waiter that wants to share: in (0, 1), and ordered like the tickets
--   p<body> -ticket       a waiter that was passed over, until it looks
--   m<id>   -microseconds a request that was granted: its place is consumed
--   t<id>   -microseconds a request that was ended with an acquire unanswered
--   g       -microseconds the latest grant, unless its holder has ended it
--   f       -microseconds the floor: who has not looked since is not live

local function kind_of(body)
  return string.match(body, '^%S+ %S+ (%S+)')
end

-- Forgets what has not been touched for a minute.
local function prune()
  local old = call('ZRANGEBYSCORE', queue, '(' .. text(60000000 - now), '(0', 'LIMIT', 0, 1000)
  for _, record in ipairs(old) do
    local body = string.sub(record, 2)
    call('ZREM', queue, record, 'w' .. body, 'l' .. body)
  end
end

local function touch(...)
  call('ZADD', queue, ...)
  call('PEXPIRE', queue, 60000)
end

-- The limit in force, and whether there is one: that of those who share, or of the first who
-- waits to.
local function limit_in_force()
  if sharing then
    return sharing.limit, true
  end
  local first = call('ZRANGEBYSCORE', queue, '(0', '(1', 'LIMIT', 0, 1)
  if not first[1] then
    return false, false
  end
  local _, limit = parts(kind_of(first[1]))
  return limit, true
end

-- Who has not looked since then is not live: where all that was held has lapsed, it is the latest
-- grant that was not ended; where some of those who share have, the latest of theirs.
local function floor(lapsed)
  local found = call('ZMSCORE', queue, 'g', 'f')
  local granted, low = tonumber(found[1] or 1), tonumber(found[2] or 1)
  if lapsed and granted < 0 then
    low = math.min(low, sharing and -lapsed or granted)
    -- Never empty in between: it would lose its life. A first step that adds would be refused at
    -- the memory limit.
    call('ZREM', queue, 'f')
    call('ZADD', queue, text(low), 'f')
    if not sharing then
      call('ZREM', queue, 'g')
    end
  end
  return -low
end

-- Finds out who holds, and ends what time has ended.
local function settle(owner, fence)
  local lapsed = see(owner, fence)
  if lapsed then
    floor(lapsed)
  end
end

-- A hold of that grant was ended, and others hold on. If it was the latest, that of the last to lapse
-- takes its place: those who lapse before it are seen to lapse.
local function grant_ended(since)
  if call('ZSCORE', queue, 'g') == '-' .. since then
    local last = call('ZREVRANGE', share, 0, 0)[1]
    local _, _, latest = record_of(string.sub(last, 2))
    call('ZADD', queue, '-' .. latest, 'g')
  end
end

local function is_live(body, low)
  local seen = -tonumber(call('ZSCORE', queue, 's' .. body) or 0)
  if seen == 0 or seen <= low or 2500000 < now - seen then
    return false
  end
  return true
end

-- On a cluster a channel is one of a slot: '/' and six digits end it.
local function is_of_slot(channel)
  return string.byte(channel, -7) == 47
end

-- Names this node in a message of a slot, which the other nodes of its shard deliver too.
local function node_of(channel)
  local id = is_of_slot(channel) and redis.pcall('CLUSTER', 'MYID')
  return id and not id.err and ' ' .. id or ''
end

local function listens(channel)
  local count = redis.pcall('PUBSUB', is_of_slot(channel) and 'SHARDNUMSUB' or 'NUMSUB', channel)
  return count.err ~= nil or 0 < count[2]
end

-- Grants the first live waiter, and so on until one cannot be. `mine` is the caller's body, if it
-- may be granted; its fence is answered, and whether the bound was reached with more to do.
local function hand_over(mine, mine_has_queued, mine_life)
  local low, my_fence = floor(not sharing), nil
  for n = 0, 32 do
    local head = not alone and call('ZRANGEBYSCORE', queue, 1, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not head or not head[1] then
      return my_fence, false
    end
    local body = string.sub(head[1], 2)
    local id, lease, kind, channel, label = string.match(body, '^(%S+) (%S+) (%S+) (%S+) (.*)$')
    local is_mine = body == mine
    local live = is_mine or is_live(body, low)
    if live and not admits(parts(kind)) then
      return my_fence, false
    end
    if n == 32 then
      return my_fence, true
    end
    call('ZREM', queue, 's' .. body, 'l' .. body)
    if is_mine then
      touch('-' .. now_text, 'g')
      if mine_has_queued then
        touch('-' .. now_text, 'm' .. id)
      end
      my_fence = grant(id, kind, mine_life, label)
    elseif live and listens(channel) then
      touch('-' .. now_text, 'm' .. id, '-' .. now_text, 'g')
      local life = math.min(tonumber(lease), 2000)
      local fence = grant(id, kind, life, label)
      local publish = is_of_slot(channel) and 'SPUBLISH' or 'PUBLISH'
      local grant = id .. ' ' .. fence .. ' ' .. life .. ' ' .. now_text
      redis.pcall(publish, channel, grant .. node_of(channel))
    else
      call('ZADD', queue, text(-tonumber(head[2])), 'p' .. body)
    end
    call('ZREM', queue, head[1])
  end
end
