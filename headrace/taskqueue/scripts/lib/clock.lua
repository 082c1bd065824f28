-- The server's time. It stands before all other parts: tests put another one in its place (headrace/testing/clock.lua).
local TIME = redis.call('TIME')

-- In milliseconds since 1970.
local now = tonumber(TIME[1]) * 1000 + math.floor(tonumber(TIME[2]) / 1000)

-- The same as text. Redis prints every number that it is given, at some 0.3 µs: where tasks are many,
-- arguments are strings.
local NOW = string.format('%.0f', now)
