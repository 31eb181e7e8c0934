-- Turns the writer with this owner and this fence into a reader, extends it, and grants waiting
-- readers. Repeated, it extends, and hands off.
--
-- KEYS     lock, last fence, queue, shared holds
-- ARGV     owner, fence, lease in ms
-- Returns  {'downgraded', now µs, again, ttl ms}, {'refused', now µs, 'differs', limit},
--          {'taken', now µs}, {'gone', now µs}
local function step()
  local id, fence, lease = unpack(ARGV)
  local held = call('HMGET', lock, 'owner', 'fence', 'since', 'stopping', 'label')
  settle(held[1], held[2])
  local function ttl_after(left, stopping)
    if stopping == '1' and 0 <= left then
      return left
    end
    return math.max(left, tonumber(lease))
  end
  local ttl
  if sharing then
    local known, _, _, stopping = record_of(id)
    if known ~= fence then
      return {'taken', now_text}
    end
    local left = tonumber(call('ZSCORE', share, 'h' .. id)) - now_ms
    ttl = ttl_after(left, stopping)
    last_until(id, now_ms + ttl)
  else
    if held[1] ~= id or held[2] ~= fence then
      return {alone and 'taken' or 'gone', now_text}
    end
    local limit = limit_in_force()
    if limit then
      return {'refused', now_text, 'differs', limit}
    end
    ttl = ttl_after(call('PTTL', lock), held[4])
    alone = false
    begin_to_share(fence, false)
    join(id, fence, 1, held[3] or fence, held[4] or '0', held[5], now_ms + ttl)
  end
  local _, again = hand_off()
  return {'downgraded', now_text, again and 1 or 0, ttl}
end
