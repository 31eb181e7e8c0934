-- How a hold is written that excludes all others.

-- A fence: the time, or one more than the last.
local function draw()
  local fence, memory = now_text, 60000
  local before = tonumber(call('GET', last) or 0)
  if now <= before then
    fence = text(before + 1)
    memory = memory + math.ceil((before + 1 - now) / 1000)
  end
  call('SET', last, fence, 'PX', memory)
  return fence
end

-- Writes the hold and answers its fence.
local function hold(id, lease, life, label)
  local fence = draw()
  call('HSET', lock, 'owner', id, 'fence', fence, 'since', now_text, 'lease', lease, 'label', label)
  call('PEXPIRE', lock, life)
  return fence
end
