-- An operator's break of the hold with that fence.
--
-- KEYS     lock, last fence, queue
-- ARGV     fence, 'now' or 'ask'
-- Returns  {'freed', now µs, again}, {'asked', now µs, life ms}, {'not-held', now µs}
-- A life of -1 has no end.
local held = call('HMGET', lock, 'fence')
if held[1] ~= ARGV[1] then
  return {'not-held', now_text}
end
if ARGV[2] == 'ask' then
  call('HSET', lock, 'stopping', 1)
  return {'asked', now_text, call('PTTL', lock)}
end
call('DEL', lock)
call('ZREM', queue, 'g')
local _, again = hand_over()
return {'freed', now_text, again and 1 or 0}
