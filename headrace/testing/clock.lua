-- The clock of tests, in place of lib/clock.lua: `advance` adds to it.
local TIME = redis.call('TIME')
local advanced_ms = tonumber(redis.call('GET', string.sub(KEYS[1], 1, -5) .. 'test-clock') or 0)
local now = tonumber(TIME[1]) * 1000 + math.floor(tonumber(TIME[2]) / 1000) + advanced_ms
local NOW = string.format('%.0f', now)
TIME[1] = string.format('%.0f', math.floor(now / 1000))
