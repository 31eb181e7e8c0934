-- Records that the work under that fence has ended. Repeated, it changes nothing.
--
-- KEYS     run
-- ARGV     fence, outcome
-- Returns  'written', 'not-yours'
local run = redis.call('HMGET', KEYS[1], 'fence', 'ended', 'memory')
if run[1] ~= ARGV[1] then
  return 'not-yours'
end
if not run[2] then
  redis.call('HSET', KEYS[1], 'ended', now_text, 'outcome', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], run[3])
end
return 'written'
