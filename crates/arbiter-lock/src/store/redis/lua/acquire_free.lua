-- The short path of acquire and of try: a free lock that nobody waits for.
local mode, ticket, id, lease, kind, channel, label = unpack(ARGV)
local held = call('HMGET', lock, 'owner', 'fence', 'since', 'label')
if not held[1] and ticket == '' and kind == 'x' and call('EXISTS', lock, queue) == 0 then
  return 'granted ' .. now_text .. ' ' .. hold(id, lease, lease, label) .. ' ' .. lease
end
