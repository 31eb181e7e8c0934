-- The short path of acquire and of try: a free lock without waiters. It calls no Lua function,
-- since each costs more than a command of the server.
local how, id, lease, channel, label = unpack(ARGV)
if (how == 'wait x' or how == 'try x') and call('EXISTS', lock, queue) == 0 then
  local ttl = lease
  --+ fence
  --+ alone
  return 'granted ' .. now_text .. ' ' .. fence .. ' ' .. ttl
end
