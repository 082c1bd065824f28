-- What every script begins with: the key prefix, the clock, the installation's facts.
--
-- Every script is called with one key, KEYS[1] = '{namespace}:meta'. All other keys share its hash
-- tag, hence its slot, and are named here and in keys.py only.

local P = string.sub(KEYS[1], 1, -5)

-- A payload or result longer than this has a key of its own: a hash with a longer field is no
-- longer stored as a compact listpack, which costs some 370 bytes.
local INLINE_BYTES = 64

-- The server's time in milliseconds since 1970.
local TIME = redis.call('TIME')
local now = tonumber(TIME[1]) * 1000 + math.floor(tonumber(TIME[2]) / 1000)

-- The same as text. Redis prints every number that it is given, at some 0.3 µs: where tasks are many,
-- arguments are strings.
local NOW = string.format('%.0f', now)

local meta = redis.call('HMGET', KEYS[1], 'version', 'epoch', 'seen', 'grace')

-- A layout that a newer Headrace made is left alone, whatever the call: VERSION <found>.
local LAYOUT_VERSION = 1
if meta[1] and tonumber(meta[1]) > LAYOUT_VERSION then
  return redis.error_reply('VERSION ' .. meta[1])
end

-- Draws the epoch when the queue first writes to this Redis: another epoch means that data was lost.
local function draw_epoch()
  if not meta[2] then
    meta[1], meta[2] = tostring(LAYOUT_VERSION), TIME[1] .. '-' .. TIME[2]
    redis.call('HSET', KEYS[1], 'version', meta[1], 'epoch', meta[2])
  end
  return meta[2]
end

-- At its `maxmemory` Redis refuses a script's first write when it may use memory, but none after a
-- first one that does not. So tasks can be finished, and memory freed, however full Redis is.
local function allow_writes_when_full()
  redis.call('DEL', P .. 'never')
end
