-- Sets another limit for shared holds under a limit.
--
-- KEYS     lock, last fence, queue, shared holds
-- ARGV     limit
-- Returns  {'resized', now µs, again, the limit before}, {'not-held', now µs}
local function step()
  local held = call('HMGET', lock, 'owner', 'fence')
  settle(held[1], held[2])
  local before = sharing and sharing.limit
  if not before then
    return {'not-held', now_text}
  end
  call('HSET', lock, 'limit', ARGV[1])
  sharing.limit = tonumber(ARGV[1])
  local _, again = hand_off()
  return {'resized', now_text, again and 1 or 0, before}
end
