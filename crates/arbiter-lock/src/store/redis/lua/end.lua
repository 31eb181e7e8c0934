-- Releases or abandons: frees what the request holds, or leaves the queue, and hands over.
--
-- KEYS     lock, last fence, queue
-- ARGV     request id, lease in ms, channel, label, '1' to leave a tombstone or ''
-- Returns  'released', or {'released' or 'left' or 'not-yours', now µs, again}
-- Deletes before it writes: at the memory limit a first write would be refused.
local waited, again = false, false
if has_queue then
  local body = id .. ' ' .. lease .. ' ' .. channel .. ' ' .. label
  waited = 0 < call('ZREM', queue, 'w' .. body, 'p' .. body)
  call('ZREM', queue, 's' .. body, 'm' .. id, is_mine and 'g' or 's' .. body)
end
if tombstone == '1' then
  touch('-' .. now_text, 't' .. id)
end
if has_queue and call('EXISTS', lock) == 0 then
  local _
  _, again = hand_over()
end
local word = is_mine and 'released' or waited and 'left' or 'not-yours'
return {word, now_text, again and 1 or 0}
