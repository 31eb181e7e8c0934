-- Returns the last run that is remembered. Writes nothing.
--
-- KEYS     run
-- Returns  {'run', now µs, fence, label, started µs, ended µs or '', outcome, turn µs, memory ms,
--          ttl ms}, {'none', now µs}
local run = redis.call('HMGET', KEYS[1], 'fence', 'label', 'started', 'ended', 'outcome', 'turn',
  'memory')
if not run[1] then
  return {'none', now_text}
end
local ttl = redis.call('PTTL', KEYS[1])
return {'run', now_text, run[1], run[2], run[3], run[4] or '', run[5] or '', run[6], run[7], ttl}
