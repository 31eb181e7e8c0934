-- The server's time as numbers.
local now = tonumber(now_text)
local now_ms = math.floor(now / 1000)

local function text(number)
  return string.format('%.0f', number)
end
