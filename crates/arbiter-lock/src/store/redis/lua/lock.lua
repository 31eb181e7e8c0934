-- Comes first in every script that grants.
local call = redis.call
local lock, last, queue, share = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
