-- Grants the request, or queues it; repeated, a poll. Or tries, and queues nothing.
--
-- KEYS     lock, last fence, queue, shared holds
-- ARGV     'wait <kind>', 'wait <kind> <ticket>' or 'try <kind>', request id, lease in ms, channel,
--          label
-- Returns  'granted <now µs> <fence> <ttl ms>'
--          {'queued', now µs, ticket, place, again, owner, fence, since µs, ttl ms, label, and if
--          several share, in how many ms the hold expires after which to poll}, or the same as a
--          line
--          {'busy', now µs, waiting, again, owner, fence, since µs, ttl ms, label}
--          {'refused', now µs, 'above' or 'differs', the limit in force or ''}
--          {'ended', now µs}, {'other-data'}
-- A TTL of -1 has no end; -2 means that there is no holder.
local function step()
  local mode, kind, ticket = string.match(how, '^(%a+) (%S+) ?(%d*)$')
  if not held[1] and call('EXISTS', lock) == 1 then
    return {'other-data'}
  end
  settle(held[1], held[2])

  local body = id .. ' ' .. lease .. ' ' .. kind .. ' ' .. channel .. ' ' .. label
  prune()
  local known = call('ZMSCORE', queue, 't' .. id, 'm' .. id, 'w' .. body, 'p' .. body)
  if known[1] then
    if not alone then
      hand_off()
    end
    return {'ended', now_text}
  end
  local has_queued = ticket ~= '' or known[2] or known[3] or known[4]
  local ttl = tonumber(lease)
  if mode == 'wait' and has_queued then
    ttl = math.min(ttl, 2000)
  end
  local function granted(fence, ttl)
    return 'granted ' .. now_text .. ' ' .. fence .. ' ' .. text(ttl)
  end
  if sharing and record_of(id) then
    -- It always writes, as a renewal does.
    ttl = math.max(tonumber(call('ZSCORE', share, 'h' .. id)) - now_ms, ttl)
    last_until(id, now_ms + ttl)
    return granted(record_of(id), ttl)
  elseif held[1] == id and held[2] then
    ttl = math.max(call('PTTL', lock), ttl)
    call('PEXPIRE', lock, text(ttl))
    return granted(held[2], ttl)
  end

  local weight, limit, follows = parts(kind)
  local function refusal()
    local stored, is_in_force = limit_in_force()
    if is_in_force and stored ~= limit and not (stored and follows) then
      return {'refused', now_text, 'differs', stored or ''}
    end
    local most = is_in_force and stored or limit
    if most and most < weight then
      return {'refused', now_text, 'above', most}
    end
  end
  local refused = weight and refusal()
  if refused and not alone and not sharing then
    -- Waiters that are not live set no limit.
    local fence = hand_off(mode == 'wait' and body, has_queued, ttl)
    if fence then
      return granted(fence, ttl)
    end
    refused = refusal()
  end
  if refused then
    return refused
  end
  if admits(weight, limit) and call('EXISTS', queue) == 0 then
    local fence = grant(id, kind, ttl, label)
    if mode == 'wait' and has_queued then
      touch('-' .. now_text, 'm' .. id, '-' .. now_text, 'g')
    end
    return granted(fence, ttl)
  end

  if mode == 'wait' then
    if known[3] or known[4] then
      ticket = text(math.abs(tonumber(known[3] or known[4])))
    elseif ticket == '' or known[2] then
      local top = call('ZREVRANGEBYSCORE', queue, '+inf', 1, 'WITHSCORES', 'LIMIT', 0, 1)
      ticket = text(math.max(now, tonumber(top[2] or 0) + 1))
    end
    call('ZREM', queue, 'm' .. id, 'p' .. body)
    touch(ticket, 'w' .. body, '-' .. now_text, 's' .. body)
    if weight then
      touch(string.format('%.17g', tonumber(ticket) / 2 ^ 60), 'l' .. body)
    end
  end
  local fence, again = nil, false
  if not alone then
    fence, again = hand_off(mode == 'wait' and body, has_queued, ttl)
    local may_try = mode == 'try' and not again and not known[3] and not known[4]
    if may_try and call('ZCOUNT', queue, 1, '+inf') == 0 and admits(weight, limit) then
      fence = grant(id, kind, ttl, label)
      if call('EXISTS', queue) == 1 then
        touch('-' .. now_text, 'g')
      end
    end
  end
  if fence then
    return granted(fence, ttl)
  end
  again = again and 1 or 0
  if mode == 'wait' then
    local place = math.min(call('ZCOUNT', queue, 1, ticket), 101)
    local answer = {'queued', now_text, ticket, place, again, holder()}
    if sharing then
      -- The first to expire for the first four waiters, the second for the next, and so on.
      local n = math.max(place - 4, 0)
      local nth = call('ZRANGEBYSCORE', share, 0, '+inf', 'WITHSCORES', 'LIMIT', n, 1)[2]
      answer[11] = nth and place <= 100 and tonumber(nth) - now_ms or ''
    end
    return answer
  end
  return {'busy', now_text, call('ZCOUNT', queue, 1, '+inf'), again, holder()}
end
