-- Prolongs holds that have this owner and this fence: never creates one, never shortens one.
--
-- KEYS     for each: lock, shared holds
-- ARGV     for each: owner, fence, lease in ms
-- Returns  for each: 'renewed <life ms>', 'stopping <life ms>', 'taken', 'gone', 'error <text>'
-- One bad key does not spoil the others.

local function prolonged(left, lease, stopping, prolong)
  if stopping then
    return 'stopping ' .. text(left < 0 and lease or left)
  end
  if left < lease then
    prolong()
    left = lease
  end
  return 'renewed ' .. text(left)
end

local function renew_shared(lock, share, owner, fence, lease, generation, record)
  local scores = redis.pcall('ZMSCORE', share, 'g', 'h' .. owner)
  if scores.err then
    return 'error ' .. scores.err
  end
  if tonumber(scores[1] or 0) ~= -tonumber(generation) then
    return 'gone'
  end
  local known, stopping = string.match(record or '', '^(%d+) %d+ %d+ (%d)')
  local left = tonumber(scores[2] or 0) - now_ms
  if known ~= fence or left < 0 then
    return redis.call('ZCOUNT', share, text(now_ms), '+inf') == 0 and 'gone' or 'taken'
  end
  return prolonged(left, lease, stopping == '1', function()
    keep(lock, share, owner, now_ms + lease)
  end)
end

local function renew(lock, share, owner, fence, lease)
  local held = redis.pcall('HMGET', lock, 'owner', 'fence', 'stopping', 'h' .. owner)
  if held.err then
    return 'error ' .. held.err
  elseif held[1] == 'shared' and held[2] then
    return renew_shared(lock, share, owner, fence, lease, held[2], held[4])
  elseif held[1] == owner and held[2] == fence then
    return prolonged(redis.call('PTTL', lock), lease, held[3], function()
      redis.call('PEXPIRE', lock, lease)
    end)
  end
  return held[1] and 'taken' or 'gone'
end

local answers = {}
for i = 1, #KEYS / 2 do
  local owner, fence, lease = ARGV[3 * i - 2], ARGV[3 * i - 1], tonumber(ARGV[3 * i])
  answers[i] = renew(KEYS[2 * i - 1], KEYS[2 * i], owner, fence, lease)
end
return answers
