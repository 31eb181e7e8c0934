-- Notes that work has begun under the hold with this owner and this fence. Repeated, it changes
-- nothing.
--
-- KEYS     lock, run: a hash of fence, label, started µs, ended µs, outcome
-- ARGV     owner, fence, for how long to remember it in ms
-- Returns  'written', 'not-yours'
local lock, run = KEYS[1], KEYS[2]
local held = redis.call('HMGET', lock, 'owner', 'fence', 'label')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then
  return 'not-yours'
end
if redis.call('HGET', run, 'fence') ~= ARGV[2] then
  redis.call('DEL', run)
  redis.call('HSET', run, 'fence', ARGV[2], 'label', held[3], 'started', now_text)
  redis.call('PEXPIRE', run, ARGV[3])
end
return 'written'
