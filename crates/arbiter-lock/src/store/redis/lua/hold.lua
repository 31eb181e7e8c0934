-- The server's time, taken once, and how a hold is written.
local clock = call('TIME')
local now_text = clock[1] .. string.sub('00000' .. clock[2], -6)
local now = tonumber(now_text)

local function text(number)
  return string.format('%.0f', number)
end

-- Writes the hold and answers its fence: the time, or one more than the last.
local function hold(id, lease, life, label)
  local fence, memory = now_text, 60000
  local before = tonumber(call('GET', last) or 0)
  if now <= before then
    fence = text(before + 1)
    memory = memory + math.ceil((before + 1 - now) / 1000)
  end
  call('SET', last, fence, 'PX', memory)
  call('HSET', lock, 'owner', id, 'fence', fence, 'since', now_text, 'lease', lease, 'label', label)
  call('PEXPIRE', lock, life)
  return fence
end
