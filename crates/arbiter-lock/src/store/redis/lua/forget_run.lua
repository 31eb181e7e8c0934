-- Forgets the last run.
--
-- KEYS     run
-- Returns  'written'
redis.call('DEL', KEYS[1])
return 'written'
