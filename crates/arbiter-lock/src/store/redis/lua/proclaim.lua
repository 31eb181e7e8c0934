-- Sets the value that the hold with this owner and this fence proclaims.
--
-- KEYS     lock
-- ARGV     owner, fence, value
-- Returns  'written', 'not-yours'
local held = redis.call('HMGET', KEYS[1], 'owner', 'fence')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then
  return 'not-yours'
end
redis.call('HSET', KEYS[1], 'value', ARGV[3])
return 'written'
