-- Writes a hold that excludes all others. It is held since its fence says so, or since the time
-- where that is another.
call('HSET', lock, 'owner', id, 'fence', fence, 'label', label)
if fence ~= now_text then
  call('HSET', lock, 'since', now_text)
end
call('PEXPIRE', lock, life)
