-- The short path of end: the holder of a lock without waiters.
local id, rest, tombstone = unpack(ARGV)
local held = call('HMGET', lock, 'owner', 'fence')
local is_mine = held[1] == id and held[2]
local has_queue = false
if is_mine then
  call('DEL', lock)
  has_queue = call('EXISTS', queue) == 1
  if not has_queue and not tombstone then
    return 'released'
  end
end
