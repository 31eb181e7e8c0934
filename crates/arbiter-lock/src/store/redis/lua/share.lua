-- The holds, exclusive or shared, for every script that grants.
--
-- KEYS[1]  with shared holds: owner 'shared', fence the generation, since µs, weight and
--   limit of all together, and for each hold
--   h<id>  "fence weight since_µs stopping label", stopping 0 or 1
-- KEYS[4]  a sorted set:
--   h<id> the last millisecond of its TTL g minus the generation If the two do not match, an
--   external client has ended the holds.

-- `sharing` is {weight, limit or false} with shared holds; `moved` if their TTLs have changed.
local alone, sharing = false, false

-- Parses a kind: 'x' to exclude, 's<weight>' to share, followed by '/' and the limit that it
-- states, or '~' and the limit that it takes if none is in force.
local function parts(kind)
  local weight, how, limit = string.match(kind, '^s(%d+)([/~]?)(%d*)$')
  return tonumber(weight), tonumber(limit) or false, how == '~'
end

local function record_of(id)
  return string.match(call('HGET', lock, 'h' .. id) or '', '^(%d+) (%d+) (%d+) (%d) (.*)$')
end

-- The maximum number of arguments of one call.
local MOST = 1000

-- Removes ended holds, of that total weight. They are already removed from KEYS[4].
local function drop(members, weight)
  if call('ZCARD', share) == 1 then
    call('DEL', lock, share)
    sharing = false
    return
  end
  for i = 1, #members, MOST do
    call('HDEL', lock, unpack(members, i, math.min(i + MOST - 1, #members)))
  end
  sharing.weight = sharing.weight - weight
  call('HSET', lock, 'weight', text(sharing.weight))
  sharing.moved = true
end

-- Reads the holds, and ends the expired shared ones. Returns when the latest of these was granted,
-- if there were any. An owner without a fence is external, even if its name is 'shared'.
local function see(owner, fence)
  local is_shared = owner == 'shared' and fence
  alone, sharing = owner and not is_shared, false
  if not is_shared then
    return false
  end
  if tonumber(call('ZSCORE', share, 'g') or 0) ~= -tonumber(fence) then
    call('DEL', lock, share)
    return false
  end
  local sums = call('HMGET', lock, 'weight', 'limit')
  sharing = {weight = tonumber(sums[1]), limit = tonumber(sums[2]) or false}
  local over = call('ZRANGEBYSCORE', share, '(0', '(' .. text(now_ms))
  local weight, latest = 0, 0
  for i = 1, #over, MOST do
    local records = call('HMGET', lock, unpack(over, i, math.min(i + MOST - 1, #over)))
    for _, record in ipairs(records) do
      local of_one, since = string.match(record, '^%d+ (%d+) (%d+)')
      weight, latest = weight + tonumber(of_one), math.max(latest, tonumber(since))
    end
  end
  if not over[1] then
    return false
  end
  call('ZREMRANGEBYSCORE', share, '(0', '(' .. text(now_ms))
  drop(over, weight)
  return latest
end

-- Ends a shared hold; returns when it was granted, if there was one.
local function leave(id)
  local fence, weight, since = record_of(id)
  if not fence then
    return false
  end
  call('ZREM', share, 'h' .. id)
  drop({'h' .. id}, tonumber(weight))
  return since
end

local function admits(weight, limit)
  if alone then
    return false
  end
  if sharing then
    return weight and (not sharing.limit or sharing.weight + weight <= sharing.limit)
  end
  return not weight or not limit or weight <= limit
end

-- Makes KEYS[1] the record of shared holds, without any yet.
local function begin_to_share(generation, limit)
  call('DEL', lock, share)
  -- The probe cannot check this right, so this comes first: if denied, it leaves nothing.
  call('HSET', lock, 'owner', 'shared', 'fence', generation, 'since', now_text)
  call('ZADD', share, '-' .. generation, 'g')
  if limit then
    call('HSET', lock, 'limit', text(limit))
  end
  sharing = {weight = 0, limit = limit}
end

-- A hold lasts to the end of that millisecond.
local function last_until(id, milli)
  keep(share, id, milli)
  sharing.moved = true
end

local function join(id, fence, weight, since, stopping, label, milli)
  sharing.weight = sharing.weight + weight
  local record = fence .. ' ' .. text(weight) .. ' ' .. since .. ' ' .. stopping .. ' ' .. label
  call('HSET', lock, 'weight', text(sharing.weight), 'h' .. id, record)
  last_until(id, milli)
end

-- Writes a hold that was admitted, and returns its fence.
local function grant(id, kind, ttl, label)
  local weight, limit = parts(kind)
  --+ fence
  if not weight then
    alone = true
    --+ alone
    return fence
  end
  if not sharing then
    begin_to_share(fence, limit)
  end
  join(id, fence, weight, now_text, '0', label, now_ms + ttl)
  return fence
end

-- The holder, for a reply: owner, fence, since, TTL, label.
local function holder()
  local held = call('HMGET', lock, 'owner', 'fence', 'since', 'label')
  if not sharing then
    local since = held[3] or held[2] or ''
    return held[1] or '', held[2] or '', since, call('PTTL', lock), held[4] or ''
  end
  local longest = call('ZREVRANGE', share, 0, 0, 'WITHSCORES')
  local _, _, since, _, label = record_of(string.sub(longest[1], 2))
  return held[1], held[2], since, tonumber(longest[2]) - now_ms, label
end
