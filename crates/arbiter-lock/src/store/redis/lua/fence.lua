-- Draws a fence: the time, or one more than the last, which is remembered to the end of its second
-- and for a minute more.
local fence = now_text
local before = call('SET', last, fence, 'KEEPTTL', 'GET')
if before and tonumber(fence) <= tonumber(before) then
  fence = string.format('%.0f', tonumber(before) + 1)
  call('SET', last, fence, 'KEEPTTL')
end
local second = string.sub(fence, 1, -7)
if not before or second ~= string.sub(before, 1, -7) then
  call('PEXPIREAT', last, string.format('%.0f', tonumber(second) + 61) .. '000')
end
