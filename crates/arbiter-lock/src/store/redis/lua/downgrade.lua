-- Makes a reader of the writer with this owner and this fence, prolongs it, and lets those in who
-- wait to read. Repeated, it prolongs, and hands over.
--
-- KEYS     lock, last fence, queue, shared holds
-- ARGV     owner, fence, lease in ms
-- Returns  {'downgraded', now µs, again, life ms}, {'refused', now µs, 'differs', limit},
--          {'taken', now µs}, {'gone', now µs}
local function step()
  local id, fence, lease = unpack(ARGV)
  local held = call('HMGET', lock, 'owner', 'fence', 'since', 'stopping', 'label')
  settle(held[1], held[2])
  local function life_after(left, stopping)
    if stopping == '1' and 0 <= left then
      return left
    end
    return math.max(left, tonumber(lease))
  end
  local life
  if sharing then
    local known, _, _, stopping = record_of(id)
    if known ~= fence then
      return {'taken', now_text}
    end
    local left = tonumber(call('ZSCORE', share, 'h' .. id)) - now_ms
    life = life_after(left, stopping)
    last_until(id, now_ms + life)
  else
    if held[1] ~= id or held[2] ~= fence then
      return {alone and 'taken' or 'gone', now_text}
    end
    local limit = limit_in_force()
    if limit then
      return {'refused', now_text, 'differs', limit}
    end
    life = life_after(call('PTTL', lock), held[4])
    alone = false
    begin_to_share(fence, false)
    join(id, fence, 1, held[3] or fence, held[4] or '0', held[5], now_ms + life)
  end
  local _, again = hand_over()
  return {'downgraded', now_text, again and 1 or 0, life}
end
