-- Draws a fence: the time, or one more than the last, which is remembered to the end of its ten
-- seconds and for a minute more.
local fence = now_text
local before = call('SET', last, fence, 'KEEPTTL', 'GET')
if before and tonumber(fence) <= tonumber(before) then
  fence = string.format('%.0f', tonumber(before) + 1)
  call('SET', last, fence, 'KEEPTTL')
end
local tens = string.sub(fence, 1, -8)
if not before or tens ~= string.sub(before, 1, -8) then
  call('PEXPIREAT', last, string.format('%.0f', tonumber(tens) + 7) .. '0000')
end
