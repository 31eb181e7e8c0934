-- Releases the request's hold, or removes it from the queue, and hands off.
--
-- KEYS     lock, last fence, queue, shared holds
-- ARGV     request id, '<lease in ms> <kind> <channel> <label>', '1' to leave a tombstone
-- Returns  'released', or {'released', 'left', 'taken' or 'gone', now µs, again}
-- Deletes before it writes: at the memory limit a first write would be refused.
local function step()
  if not is_mine then
    has_queue = call('EXISTS', queue) == 1
    settle(held[1], held[2])
    local since = sharing and leave(id)
    is_mine = since
    if since and sharing and has_queue then
      grant_ended(since)
    end
  end
  local not_mine = (alone or sharing) and 'taken' or 'gone'
  local waited, again = false, false
  if has_queue then
    local body = id .. ' ' .. rest
    waited = 0 < call('ZREM', queue, 'w' .. body, 'p' .. body)
    local latest = is_mine and not sharing and 'g' or 'm' .. id
    call('ZREM', queue, 'm' .. id, 's' .. body, 'l' .. body, latest)
  end
  if tombstone then
    touch('-' .. now_text, 't' .. id)
  end
  if has_queue and not alone and (is_mine or sharing or call('EXISTS', lock) == 0) then
    local _
    _, again = hand_off()
  end
  local word = is_mine and 'released' or waited and 'left' or not_mine
  return {word, now_text, again and 1 or 0}
end
