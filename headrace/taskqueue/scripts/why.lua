--- include common, counters, records, waiting, ending
-- why: what is known of a task that waits, and of its place. Changes nothing, unless its record cannot be used.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id
-- Returns  now, the task's status and type, then names and values: `place` (how many tasks of its list come
--          first), `estimated` (that is no exact number), `due`, `back_off` (it failed, and waits), `parked`,
--          `inbox` (an item there wakes it), `child` (it has children), `worker` and `since` of a task that
--          runs or has ended, `left` (`when:worker`: the last worker that said goodbye), `last_worker` and
--          `last_end` of the type's task that ended last
-- Errors   NOTFOUND <id>

local id = ARGV[1]
local r = read_task(id)
if not r then
  return redis.error_reply('NOTFOUND ' .. id)
end
-- So far from the front the place is exact.
local NEAR, CHUNK = 10000, 1000
local list, cancelled = list_key(r.t, 0), P .. 'cancelled:' .. r.t
local reply = { now, r.s, r.t }

local function tell(name, value)
  if value then
    reply[#reply + 1], reply[#reply + 2] = name, value
  end
end

-- How many tasks stand before this one near the front; nil: it is not there.
local function near_place()
  local passed, any_cancelled = 0, call('SCARD', cancelled) > 0
  for first = 0, NEAR - CHUNK, CHUNK do
    local ids = call('LRANGE', list, first, first + CHUNK - 1)
    local gone = any_cancelled and #ids > 0 and call('SMISMEMBER', cancelled, unpack(ids)) or {}
    for i, other in ipairs(ids) do
      if other == id then
        return passed
      elseif gone[i] ~= 1 then
        passed = passed + 1
      end
    end
    if #ids < CHUNK then
      return nil
    end
  end
end

-- Further back, by the time at which the tasks came: the list is in that order, but for what was handed back.
local function estimated_place()
  local low, high, since = NEAR, call('LLEN', list), tonumber(r.q or r.c)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local other = redis.pcall('HMGET', P .. 'task:' .. (call('LINDEX', list, middle) or ''), 'q', 'c')
    if (tonumber(other[1] or other[2]) or 0) < since then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- Who ended a task of this type last, and when.
local function tell_last_end()
  local newest, ended = nil, 0
  for _, status in ipairs({ 'completed', 'failed', 'cancelled' }) do
    local last = call('ZREVRANGE', ended_key(r.t, status), 0, 0, 'WITHSCORES')
    if last[1] and tonumber(last[2]) > ended then
      newest, ended = last[1], tonumber(last[2])
    end
  end
  local worker = newest and redis.pcall('HGET', P .. 'task:' .. newest, 'w')
  if type(worker) == 'string' then
    tell('last_worker', worker)
    tell('last_end', ended)
  end
end

if r.s == 'queued' then
  local place = near_place()
  tell('place', place or estimated_place())
  tell('estimated', not place and 1)
elseif r.s == 'pending' then
  tell('due', r.d)
  tell('back_off', is_retry(r.rc, r.cc) and not r.pk and 1)
  tell('parked', r.pk)
  tell('inbox', r.wo)
  tell('child', r.ch)
else
  tell('worker', r.w)
  tell('since', r.e or r.b)
end
if r.s == 'queued' or r.s == 'pending' then
  tell('left', call('HGET', P .. 'left', r.t))
  tell_last_end()
end
return reply
