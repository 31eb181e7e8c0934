-- Extends holds that have this owner and this fence: never creates one, never shortens one. It
-- always writes, since WAIT answers for the last write of a connection.
--
-- KEYS     for each: lock, shared holds; the lock twice for a hold that cannot be shared
-- ARGV     for each: owner, fence, lease in ms
-- Returns  for each: 'renewed <ttl ms>', 'stopping <ttl ms>', 'taken', 'gone', 'error <text>'
-- A bad key does not affect the others.

local function renew_shared(lock, share, owner, fence, lease, generation)
  local scores = redis.pcall('ZMSCORE', share, 'g', 'h' .. owner)
  if scores.err then
    return 'error ' .. scores.err
  end
  if tonumber(scores[1] or 0) ~= -tonumber(generation) then
    return 'gone'
  end
  local record = redis.call('HGET', lock, 'h' .. owner)
  local known, stopping = string.match(record or '', '^(%d+) %d+ %d+ (%d)')
  local left = tonumber(scores[2] or 0) - now_ms
  if known ~= fence or left < 0 then
    return redis.call('ZCOUNT', share, text(now_ms), '+inf') == 0 and 'gone' or 'taken'
  elseif stopping == '1' then
    return 'stopping ' .. text(left)
  end
  left = math.max(left, lease)
  keep(share, owner, now_ms + left)
  follow_longest(lock, share)
  return 'renewed ' .. text(left)
end

local function renew(lock, share, owner, fence, lease)
  local held = redis.pcall('HMGET', lock, 'owner', 'fence', 'stopping')
  if held.err then
    return 'error ' .. held.err
  elseif held[1] == 'shared' and held[2] and share == lock then
    return 'taken'
  elseif held[1] == 'shared' and held[2] then
    return renew_shared(lock, share, owner, fence, tonumber(lease), held[2])
  elseif held[1] ~= owner or held[2] ~= fence then
    return held[1] and 'taken' or 'gone'
  end
  local left = redis.call('PTTL', lock)
  if held[3] then
    return 'stopping ' .. (left < 0 and lease or left)
  end
  left = text(math.max(left, tonumber(lease)))
  redis.call('PEXPIRE', lock, left)
  return 'renewed ' .. left
end

local answers = {}
for i = 1, #KEYS / 2 do
  local owner, fence, lease = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  answers[i] = renew(KEYS[2 * i - 1], KEYS[2 * i], owner, fence, lease)
end
return answers
