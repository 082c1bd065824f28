-- What every script begins with, after the clock: the key prefix, calls of Redis, the installation's facts.
--
-- Every script is called with one key, KEYS[1] = '{namespace}:meta'. All other keys share its hash
-- tag, hence its slot, and are named here and in keys.py only.
--
-- Redis does not undo what a script wrote before an error. So no script may fail half way, whatever
-- lies in Redis: what is read is checked before anything is written for it, and what cannot be used is
-- set aside: moved to aside:<key> and named in `damaged`.

local P = string.sub(KEYS[1], 1, -5)

-- A payload or result longer than this has a key of its own: a hash with a longer field is no
-- longer stored as a compact listpack, which costs some 370 bytes.
local INLINE_BYTES = 64

-- At its `maxmemory` Redis refuses a script's first write when it may use memory, but none after a
-- first one that does not. So tasks can be finished, and memory freed, however full Redis is.
local function allow_writes_when_full()
  redis.call('DEL', P .. 'never')
end

-- A whole number from 0 on; nil for whatever else.
local function whole(text)
  local number = tonumber(text)
  if number and number >= 0 and number < 9007199254740992 and number % 1 == 0 then
    return number
  end
end

-- The newest entries of `damaged` are kept, and what was moved aside for a week.
local DAMAGED_KEPT, ASIDE_KEPT_SECONDS = '1000', 604800

-- What this call has moved, if anything: it is not named a second time for being gone.
local moved

-- Names what cannot be used: one entry in `damaged`, and one more in their number.
local function name_damage(what, why)
  allow_writes_when_full()
  local entry = { 'MAXLEN', DAMAGED_KEPT, '*', 'what', string.sub(what, 1, 200), 'why', why }
  if type(redis.pcall('XADD', P .. 'damaged', unpack(entry))) == 'table' then
    redis.call('DEL', P .. 'damaged')
    redis.call('XADD', P .. 'damaged', unpack(entry))
  end
  if type(redis.pcall('HINCRBY', KEYS[1], 'damaged', 1)) == 'table' then
    redis.pcall('HSET', KEYS[1], 'damaged', 1)
  end
end

-- Names a key, and moves it out of everybody's way; or takes one field out of a hash that can be used
-- otherwise. name: without the prefix
local function set_aside(name, why, field)
  local key = P .. name
  if field then
    local value = string.sub(tostring(redis.call('HGET', key, field)), 1, 100)
    name_damage(name .. ' ' .. field, 'is not a number: ' .. value)
    redis.call('HDEL', key, field)
  else
    name_damage(name, why)
    moved = moved or {}
    moved[name] = true
    if redis.call('EXISTS', key) == 1 then
      redis.call('RENAME', key, P .. 'aside:' .. name)
      redis.call('EXPIRE', P .. 'aside:' .. name, ASIDE_KEPT_SECONDS)
    end
  end
end

-- How scripts call Redis where a key's type matters. A key of the wrong type, and a counter that is no
-- number, are set aside, and the call is made again: it finds nothing there.
local pcall, type = redis.pcall, type
local function call(command, key, ...)
  local reply = pcall(command, key, ...)
  if type(reply) == 'table' and reply.err then
    local name, code = string.sub(key, #P + 1), string.match(reply.err, '^%u+')
    if code == 'WRONGTYPE' then
      set_aside(name, 'has the wrong type: ' .. redis.call('TYPE', key).ok)
    elseif code == 'ERR' and command == 'HINCRBY' then
      set_aside(name, nil, (...))
    end
    return redis.call(command, key, ...)
  end
  return reply
end

local meta = call('HMGET', KEYS[1], 'version', 'epoch', 'seen', 'grace')

-- The newest version of a record that these scripts read; what a record of an older one holds is the same.
-- As in task.py.
local RECORD_VERSION = 2
-- A reader of version 1 takes it for a 1, and passes over the options.
local VERSION_1_WITH_OPTIONS = '01'

-- A layout that a newer Headrace made is left alone, whatever the call: VERSION <found> <supported>.
local LAYOUT_VERSION = 1
if meta[1] and meta[1] ~= '1' then
  if (whole(meta[1]) or 0) > LAYOUT_VERSION then
    return redis.error_reply('VERSION ' .. meta[1] .. ' ' .. LAYOUT_VERSION)
  end
  set_aside('meta', nil, 'version')
  meta[1] = false
end

-- Draws the epoch when the queue first writes to this Redis: another epoch means that data was lost.
local function draw_epoch()
  if not meta[1] or not meta[2] then
    meta[1], meta[2] = tostring(LAYOUT_VERSION), meta[2] or TIME[1] .. '-' .. TIME[2]
    call('HSET', KEYS[1], 'version', meta[1], 'epoch', meta[2])
  end
  return meta[2]
end
