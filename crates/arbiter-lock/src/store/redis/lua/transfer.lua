-- Gives the hold with this owner and this fence to another request, for its lease. The hold keeps
-- its fence and its start. Repeated, it extends the hold. It always writes, as a renewal does.
--
-- KEYS     lock, queue, shared holds
-- ARGV     owner, fence, id of the other request, '<lease in ms> <kind> <channel> <label>'
-- Returns  one of {'renewed <ttl ms>'}, {'stopping <ttl ms>'}, {'taken'}, {'gone'}
local lock, queue, share = KEYS[1], KEYS[2], KEYS[3]
local owner, fence, id, rest = unpack(ARGV)
local lease, label = string.match(rest, '^(%d+) %S+ %S+ (.*)$')
lease = tonumber(lease)

-- Returns whether the other request waits, was skipped, or was ended.
local function is_queued()
  local body = id .. ' ' .. rest
  local scores = redis.call('ZMSCORE', queue, 't' .. id, 'w' .. body, 'p' .. body)
  return scores[1] or scores[2] or scores[3]
end

local function transfer_shared(generation)
  local scores = redis.call('ZMSCORE', share, 'g', 'h' .. owner, 'h' .. id)
  if tonumber(scores[1] or 0) ~= -tonumber(generation) then
    return 'gone'
  end
  local records = redis.call('HMGET', lock, 'h' .. owner, 'h' .. id)
  local function hold(record, milli)
    local known, kept, stopping = string.match(record or '', '^(%d+) (%d+ %d+) (%d)')
    local left = tonumber(milli or 0) - now_ms
    return 0 <= left and known, kept, stopping, left
  end
  local from, kept, stopping, left = hold(records[1], scores[2])
  local to, _, of_stopping, of_left = hold(records[2], scores[3])
  if to == fence then
    stopping, left = of_stopping, of_left
  elseif to or from ~= fence or is_queued() then
    return redis.call('ZCOUNT', share, text(now_ms), '+inf') == 0 and 'gone' or 'taken'
  end
  if stopping == '1' then
    return 'stopping ' .. text(left)
  end
  left = to == fence and math.max(left, lease) or lease
  if to ~= fence then
    -- Removes before it adds: at the memory limit a first write that adds would be refused.
    redis.call('ZREM', share, 'h' .. owner)
    redis.call('HDEL', lock, 'h' .. owner)
    redis.call('HSET', lock, 'h' .. id, fence .. ' ' .. kept .. ' 0 ' .. label)
  end
  keep(share, id, now_ms + left)
  follow_longest(lock, share)
  return 'renewed ' .. text(left)
end

local function transfer()
  local held = redis.call('HMGET', lock, 'owner', 'fence', 'stopping')
  if held[1] == 'shared' and held[2] then
    return transfer_shared(held[2])
  end
  local is_done = held[1] == id and held[2] == fence
  local is_first = held[1] == owner and held[2] == fence and held[1] ~= id
  if not is_done and (not is_first or is_queued()) then
    return held[1] and 'taken' or 'gone'
  end
  local left = redis.call('PTTL', lock)
  if held[3] then
    return 'stopping ' .. (left < 0 and lease or left)
  end
  left = text(is_done and math.max(left, lease) or lease)
  redis.call('PEXPIRE', lock, left)
  if is_first then
    redis.call('HSET', lock, 'owner', id, 'label', label)
  end
  return 'renewed ' .. left
end

return {transfer()}
