-- The short path of end: the holder of a lock that nobody waits for.
local id, lease, kind, channel, label, tombstone = unpack(ARGV)
local held = call('HMGET', lock, 'owner', 'fence')
local is_mine = held[1] == id and held[2]
local has_queue = call('EXISTS', queue) == 1
if is_mine then
  call('DEL', lock)
  if not has_queue and tombstone == '' then
    return 'released'
  end
  held[1] = false
end
