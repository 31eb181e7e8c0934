-- The short path of a hand-off: to an exclusive waiter that has polled, and listens. Or there is no
-- waiter, and granted markers are forgotten.
if is_mine and not tombstone then
  local mark, head = 'm' .. id, call('ZRANGEBYSCORE', queue, 1, '+inf', 'LIMIT', 0, 1)[1]
  if not head then
    call('ZREM', queue, mark, 'g')
    return 'released'
  end
  local body = string.sub(head, 2)
  local id, lease, channel, label = string.match(body, '^(%S+) (%d+) x (%S+) (.*)$')
  local seen = id and call('ZMSCORE', queue, 's' .. body, 'f') or {}
  local at, cutoff = tonumber(seen[1]), tonumber(seen[2] or 1)
  local is_live = at and tonumber(now_text) + at <= 2500000 and at < cutoff
  -- The channel of a slot: '/' and six digits end it.
  local is_of_slot = id and string.byte(channel, -7) == 47
  local count = is_of_slot and 'SHARDNUMSUB' or 'NUMSUB'
  if is_live and redis.pcall('PUBSUB', count, channel)[2] ~= 0 then
    call('ZREM', queue, head, 's' .. body, mark)
    call('ZADD', queue, '-' .. now_text, 'm' .. id, '-' .. now_text, 'g')
    call('PEXPIRE', queue, 60000)
    local ttl = math.min(tonumber(lease), 2000)
    --+ fence
    --+ alone
    local grant = id .. ' ' .. fence .. ' ' .. ttl .. ' ' .. now_text
    if is_of_slot then
      -- Names this node: the other nodes of its shard deliver the message too.
      local node = redis.pcall('CLUSTER', 'MYID')
      grant = node.err and grant or grant .. ' ' .. node
    end
    redis.pcall(is_of_slot and 'SPUBLISH' or 'PUBLISH', channel, grant)
    return 'released'
  end
end
