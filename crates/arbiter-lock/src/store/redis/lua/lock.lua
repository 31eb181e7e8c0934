-- Stands first in acquire, end and break.
local call = redis.call
local lock, last, queue = KEYS[1], KEYS[2], KEYS[3]
