-- The server's time in µs, taken once.
local clock = redis.call('TIME')
local now_text = clock[1] .. string.sub('00000' .. clock[2], -6)
