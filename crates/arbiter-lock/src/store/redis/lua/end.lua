-- Releases or abandons: frees what the request holds, or leaves the queue, and hands over.
--
-- KEYS     lock, last fence, queue, shared holds
-- ARGV     request id, lease in ms, kind, channel, label, '1' to leave a tombstone or ''
-- Returns  'released', or {'released' or 'left' or 'not-yours', now µs, again}
-- Deletes before it writes: at the memory limit a first write would be refused.
if see(held[1], held[2]) then
  floor(true)
end
if sharing then
  is_mine = leave(id)
end
local waited, again = false, false
if has_queue then
  local body = id .. ' ' .. lease .. ' ' .. kind .. ' ' .. channel .. ' ' .. label
  waited = 0 < call('ZREM', queue, 'w' .. body, 'p' .. body)
  call('ZREM', queue, 's' .. body, 'l' .. body, 'm' .. id)
  if is_mine and not sharing then
    call('ZREM', queue, 'g')
  end
end
if tombstone == '1' then
  touch('-' .. now_text, 't' .. id)
end
if has_queue and not alone and (sharing or call('EXISTS', lock) == 0) then
  local _
  _, again = hand_over()
end
local word = is_mine and 'released' or waited and 'left' or 'not-yours'
return {word, now_text, again and 1 or 0}
