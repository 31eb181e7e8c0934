-- The short path into the queue, and of a poll: behind an exclusive hold, for an exclusive request.
local held = call('HMGET', lock, 'owner', 'fence', 'since', 'label')
local looked = string.match(how, '^wait x ?(%d*)$')
if looked and held[2] and held[1] ~= id and held[1] ~= 'shared' then
  local body = id .. ' ' .. lease .. ' x ' .. channel .. ' ' .. label
  local known = call('ZMSCORE', queue, 'w' .. body, 't' .. id, 'm' .. id, 'p' .. body)
  local has_ticket = known[1] or looked ~= ''
  local ticket = known[1] or has_ticket and looked or now_text
  local is_over = string.format('(%.0f', 60000000 - tonumber(now_text))
  if not known[2] and not known[3] and not known[4]
    and (has_ticket or call('ZCOUNT', queue, now_text, '+inf') == 0)
    and call('ZCOUNT', queue, is_over, '(0') == 0
  then
    -- The TTL comes first: at the memory limit a first value would be refused.
    local is_there = call('PEXPIRE', queue, 60000) == 1
    call('ZADD', queue, ticket, 'w' .. body, '-' .. now_text, 's' .. body)
    if not is_there then
      call('PEXPIRE', queue, 60000)
    end
    local place = math.min(call('ZCOUNT', queue, 1, ticket), 101)
    return table.concat({'queued', now_text, ticket, place, 0, held[1], held[2],
      held[3] or held[2], call('PTTL', lock), held[4] or ''}, ' ')
  end
end
