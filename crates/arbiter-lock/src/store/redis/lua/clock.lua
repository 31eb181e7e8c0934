-- The server's time, taken once.
local clock = redis.call('TIME')
local now_text = clock[1] .. string.sub('00000' .. clock[2], -6)
local now = tonumber(now_text)
local now_ms = math.floor(now / 1000)

local function text(number)
  return string.format('%.0f', number)
end
