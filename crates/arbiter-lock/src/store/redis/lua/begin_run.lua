-- Records that work has begun under the hold with this owner and this fence. Repeated, it changes
-- nothing.
--
-- KEYS     lock, run: a hash of fence, label, started µs, ended µs, outcome, turn µs, memory ms
-- ARGV     owner, fence, turn in µs, for how long to remember it after its end in ms, and how much
--          longer until then in ms
-- Returns  'written', 'not-yours'
local lock, run = KEYS[1], KEYS[2]
local held = redis.call('HMGET', lock, 'owner', 'fence', 'label')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then
  return 'not-yours'
end
local last = redis.call('HMGET', run, 'fence', 'memory')
if last[1] ~= ARGV[2] then
  local memory = ARGV[4]
  if last[2] and tonumber(memory) < tonumber(last[2]) then
    memory = last[2]
  end
  redis.call('DEL', run)
  redis.call('HSET', run, 'fence', ARGV[2], 'label', held[3], 'started', now_text,
    'turn', ARGV[3], 'memory', memory)
  redis.call('PEXPIRE', run, string.format('%.0f', tonumber(memory) + tonumber(ARGV[5])))
end
return 'written'
