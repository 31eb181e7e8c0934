-- What can be seen. Writes nothing.
--
-- KEYS     lock, queue
-- ARGV     how many waiters to list
-- Returns  {'status', now µs, waiting, owner, fence, since µs, life ms, label,
--          ticket, body, ticket, body, …}, {'foreign-data'}
-- A life of -1 has no end, of -2 is nobody's.
local clock = redis.call('TIME')
local held = redis.call('HMGET', KEYS[1], 'owner', 'fence', 'since', 'label')
local life = redis.call('PTTL', KEYS[1])
if not held[1] and life ~= -2 then
  return {'foreign-data'}
end
local status = {
  'status', clock[1] .. string.sub('00000' .. clock[2], -6),
  redis.call('ZCOUNT', KEYS[2], '(0', '+inf'),
  held[1] or '', held[2] or '', held[3] or '', life, held[4] or '',
}
local waiters = redis.call('ZRANGEBYSCORE', KEYS[2], '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for i = 1, #waiters, 2 do
  status[#status + 1] = string.format('%.0f', waiters[i + 1])
  status[#status + 1] = string.sub(waiters[i], 2)
end
return status
