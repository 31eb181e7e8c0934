-- Prolongs holds that have this owner and this fence: never creates one, never shortens one.
--
-- KEYS     the locks
-- ARGV     for each: owner, fence, lease in ms
-- Returns  for each: 'renewed <life ms>', 'stopping <life ms>', 'taken', 'gone', 'error <text>'
-- One bad key does not spoil the others.
local answers = {}
for i, lock in ipairs(KEYS) do
  local owner, fence, lease = ARGV[3 * i - 2], ARGV[3 * i - 1], tonumber(ARGV[3 * i])
  local held = redis.pcall('HMGET', lock, 'owner', 'fence', 'stopping')
  if held.err then
    answers[i] = 'error ' .. held.err
  elseif held[1] == owner and held[2] == fence then
    local left = redis.call('PTTL', lock)
    if held[3] then
      answers[i] = 'stopping ' .. (left < 0 and lease or left)
    else
      if left < lease then
        redis.call('PEXPIRE', lock, lease)
        left = lease
      end
      answers[i] = 'renewed ' .. left
    end
  else
    answers[i] = held[1] and 'taken' or 'gone'
  end
end
return answers
