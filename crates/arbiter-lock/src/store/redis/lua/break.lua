-- Breaks the hold with that fence, for an operator.
--
-- KEYS     lock, last fence, queue, shared holds
-- ARGV     fence, 'now' or 'ask', and the owner of an external hold, which has no fence
-- Returns  {'freed', now µs, again}, {'asked', now µs, ttl ms}, {'not-held', now µs}
-- A TTL of -1 has no end.
local function step()
  local broken, how, owner = unpack(ARGV)
  local held = call('HMGET', lock, 'owner', 'fence')
  settle(held[1], held[2])
  local id
  if sharing then
    local fields = call('HGETALL', lock)
    for i = 1, #fields, 2 do
      if string.find(fields[i], '^h') and string.match(fields[i + 1], '^%d+') == broken then
        id = string.sub(fields[i], 2)
      end
    end
  end
  local external = owner and held[1] == owner and not held[2]
  if not id and not (alone and (held[2] == broken or external)) then
    return {'not-held', now_text}
  end
  -- A detached hold has no process to ask.
  if string.find(id or held[1], '^detached%-') then
    how = 'now'
  end
  if how == 'ask' and id then
    local record = call('HGET', lock, 'h' .. id)
    call('HSET', lock, 'h' .. id, (string.gsub(record, '^(%d+ %d+ %d+) 0', '%1 1')))
    return {'asked', now_text, tonumber(call('ZSCORE', share, 'h' .. id)) - now_ms}
  elseif how == 'ask' then
    call('HSET', lock, 'stopping', 1)
    return {'asked', now_text, call('PTTL', lock)}
  end
  local since = id and leave(id)
  if not id then
    call('DEL', lock)
    alone = false
  end
  if sharing then
    grant_ended(since)
  elseif not external then
    -- The grant before an external hold ended when the external hold began.
    call('ZREM', queue, 'g')
  end
  local _, again = hand_off()
  return {'freed', now_text, again and 1 or 0}
end
