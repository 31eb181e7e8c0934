-- Forgets the run under that fence. Repeated, it changes nothing, even if a later run has begun.
--
-- KEYS     run
-- ARGV     fence
-- Returns  'written', 'not-yours'
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then
  return 'not-yours'
end
redis.call('DEL', KEYS[1])
return 'written'
