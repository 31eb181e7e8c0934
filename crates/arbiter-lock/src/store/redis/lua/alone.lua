-- Writes an exclusive hold. It is held since the time of its fence, or since `now` if that is
-- another time.
call('HSET', lock, 'owner', id, 'fence', fence, 'label', label)
if fence ~= now_text then
  call('HSET', lock, 'since', now_text)
end
call('PEXPIRE', lock, ttl)
