-- The short path of acquire and of try: a free lock that nobody waits for.
local mode, ticket, id, lease, channel, label = unpack(ARGV)
local held = call('HMGET', lock, 'owner', 'fence', 'since', 'label')
local is_free = not held[1]
if is_free and ticket == '' and call('EXISTS', lock, queue) == 0 then
  return 'granted ' .. now_text .. ' ' .. hold(id, lease, lease, label) .. ' ' .. lease
end
