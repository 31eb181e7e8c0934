-- Grants the request, or queues it; repeated, a look. Or tries, and queues nothing.
--
-- KEYS     lock, last fence, queue
-- ARGV     'wait' or 'try', ticket or '', request id, lease in ms, channel, label
-- Returns  'granted <now µs> <fence> <life ms>'
--          {'queued', now µs, ticket, place, again, owner, fence, since µs, life ms, label}
--          {'busy', now µs, waiting, again, owner, fence, since µs, life ms, label}
--          {'ended', now µs}, {'foreign-data'}
-- A life of -1 has no end, of -2 is nobody's.
if is_free and call('EXISTS', lock) == 1 then
  return {'foreign-data'}
end

local body = id .. ' ' .. lease .. ' ' .. channel .. ' ' .. label
prune()
local known = call('ZMSCORE', queue, 't' .. id, 'm' .. id, 'w' .. body, 'p' .. body)
if known[1] then
  return {'ended', now_text}
end
local has_queued = ticket ~= '' or known[2] or known[3] or known[4]
local life = tonumber(lease)
if mode == 'wait' and has_queued then
  life = math.min(life, 2000)
end
if held[1] == id and held[2] then
  local left = call('PTTL', lock)
  if left < life then
    call('PEXPIRE', lock, life)
    left = life
  end
  return 'granted ' .. now_text .. ' ' .. held[2] .. ' ' .. left
end

if mode == 'wait' then
  if known[3] or known[4] then
    ticket = text(math.abs(tonumber(known[3] or known[4])))
  elseif ticket == '' or known[2] then
    local top = call('ZREVRANGEBYSCORE', queue, '+inf', '(0', 'WITHSCORES', 'LIMIT', 0, 1)
    ticket = text(math.max(now, tonumber(top[2] or 0) + 1))
  end
  call('ZREM', queue, 'm' .. id, 'p' .. body)
  touch(ticket, 'w' .. body, '-' .. now_text, 's' .. body)
end
local fence, again, granted = nil, false, false
if is_free then
  fence, again, granted = hand_over(mode == 'wait' and body, has_queued, life)
  if mode == 'try' and not again and not granted then
    fence = hold(id, lease, lease, label)
    if call('EXISTS', queue) == 1 then
      touch('-' .. now_text, 'g')
    end
  end
  if fence then
    return 'granted ' .. now_text .. ' ' .. fence .. ' ' .. text(life)
  end
  held = call('HMGET', lock, 'owner', 'fence', 'since', 'label')
end
local rest = {again and 1 or 0, held[1] or '', held[2] or '', held[3] or '', call('PTTL', lock), held[4] or ''}
if mode == 'wait' then
  local place = math.min(call('ZCOUNT', queue, '(0', ticket), 101)
  return {'queued', now_text, ticket, place, unpack(rest)}
end
return {'busy', now_text, call('ZCOUNT', queue, '(0', '+inf'), unpack(rest)}
