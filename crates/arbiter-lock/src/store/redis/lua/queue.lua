-- The queue and the hand-off, for every script that grants.
--
-- KEYS[3]  a sorted set:
--   w<body> ticket        a waiter; its body is "id lease_ms kind channel label"
--   s<body> -microseconds when it polled last
--   l<body> ticket / 2^60 a waiter that wants to share: in (0, 1), and ordered like the tickets
--   p<body> -ticket       a waiter that was skipped, until it polls
--   m<id>   -microseconds a request that was granted: its place is consumed
--   t<id>   -microseconds a request that was ended with an acquire unanswered
--   g       -microseconds the latest grant, unless its holder has ended it
--   f       -microseconds the liveness cutoff: a waiter without a poll since is not live

local function kind_of(body)
  return string.match(body, '^%S+ %S+ (%S+)')
end

-- Forgets records that have not been touched for a minute.
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

-- The limit in force, and whether there is one. It is the limit of the shared holds, or of the
-- first waiter that wants to share.
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

-- Returns the liveness cutoff: a waiter that has not polled since then is not live. If all holds
-- have expired, it is the latest grant that was not ended. If some shared holds have, it is the
-- latest of their grants.
local function cutoff(expired)
  local found = call('ZMSCORE', queue, 'g', 'f')
  local granted, low = tonumber(found[1] or 1), tonumber(found[2] or 1)
  if expired and granted < 0 then
    low = math.min(low, sharing and -expired or granted)
    -- The key is never empty in between: it would lose its TTL. A first command that adds would be
    -- refused at the memory limit.
    call('ZREM', queue, 'f')
    call('ZADD', queue, text(low), 'f')
    if not sharing then
      call('ZREM', queue, 'g')
    end
  end
  return -low
end

-- Reads the holds, and ends the expired ones.
local function settle(owner, fence)
  local expired = see(owner, fence)
  if expired then
    cutoff(expired)
  end
end

-- Updates the latest grant after a shared hold was ended, while others remain. If its grant was the
-- latest, the grant of the last hold to expire takes its place. `see` handles the holds that expire
-- earlier.
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
-- may be granted. Returns its fence, and whether the bound was reached with more to do.
local function hand_off(mine, mine_has_queued, mine_ttl)
  local low, my_fence = cutoff(not sharing), nil
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
      my_fence = grant(id, kind, mine_ttl, label)
    elseif live and listens(channel) then
      touch('-' .. now_text, 'm' .. id, '-' .. now_text, 'g')
      local ttl = math.min(tonumber(lease), 2000)
      local fence = grant(id, kind, ttl, label)
      local publish = is_of_slot(channel) and 'SPUBLISH' or 'PUBLISH'
      local grant = id .. ' ' .. fence .. ' ' .. ttl .. ' ' .. now_text
      redis.pcall(publish, channel, grant .. node_of(channel))
    else
      call('ZADD', queue, text(-tonumber(head[2])), 'p' .. body)
    end
    call('ZREM', queue, head[1])
  end
end
