-- Returns the visible state. Writes nothing.
--
-- KEYS     lock, queue, shared holds
-- ARGV     how many waiters to list, how many shared holds
-- Returns  {'status', now µs, waiting, owner, fence, since µs, ttl ms, label, '' or '=value',
--          how many share, limit or '', weight, how many of them follow,
--          owner, fence, weight, since µs, ttl ms, label, …, then the waiters:
--          ticket, body, …}, {'other-data'}
-- A TTL of -1 has no end; -2 means that there is no holder.
local lock, queue, share = KEYS[1], KEYS[2], KEYS[3]
local held = redis.call('HMGET', lock, 'owner', 'fence', 'since', 'label', 'value', 'limit', 'weight')
local ttl = redis.call('PTTL', lock)
if not held[1] and ttl ~= -2 then
  return {'other-data'}
end

local function record_of(member)
  return string.match(redis.call('HGET', lock, member) or '', '^(%d+) (%d+) (%d+) %d (.*)$')
end

local count, weight, sharers = 0, tonumber(held[7] or 0), {}
if held[1] == 'shared' and held[2] then
  if tonumber(redis.call('ZSCORE', share, 'g') or 0) == -tonumber(held[2]) then
    count = redis.call('ZCOUNT', share, text(now_ms), '+inf')
  end
  local over = redis.call('ZRANGEBYSCORE', share, '(0', '(' .. text(now_ms))
  for _, member in ipairs(0 < count and over or {}) do
    local _, of_one = record_of(member)
    weight = weight - tonumber(of_one)
  end
  local most = math.min(count, tonumber(ARGV[2]))
  local last = 0 < most and redis.call('ZREVRANGE', share, 0, most - 1, 'WITHSCORES') or {}
  for i = 1, #last, 2 do
    local fence, of_one, since, label = record_of(last[i])
    local left = tonumber(last[i + 1]) - now_ms
    for _, field in ipairs({string.sub(last[i], 2), fence, of_one, since, left, label}) do
      sharers[#sharers + 1] = field
    end
  end
  if count == 0 then
    held, ttl = {}, -2
  else
    held[3], ttl, held[4] = sharers[4], sharers[5], sharers[6]
  end
end

local status = {
  'status', now_text, redis.call('ZCOUNT', queue, 1, '+inf'),
  held[1] or '', held[2] or '', held[3] or held[2] or '', ttl, held[4] or '',
  held[5] and '=' .. held[5] or '',
  count, held[6] or '', text(weight), #sharers / 6,
}
for _, field in ipairs(sharers) do
  status[#status + 1] = field
end
local waiters = redis.call('ZRANGEBYSCORE', queue, 1, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for i = 1, #waiters, 2 do
  status[#status + 1] = text(waiters[i + 1])
  status[#status + 1] = string.sub(waiters[i], 2)
end
return status
