--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, holds, reaping, repairing, versions, actions
-- edit: changes a task that has not begun: its start time, its max_retries, its tags.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  retention in seconds    3  lease in ms    4  start in ms, 0: at once    5  max_retries
--       6  tags, packed    7  how many bytes its options may have. Of 4 to 6, '' leaves it as it is
-- Returns  the status after it
-- Errors   NOTFOUND <id>, NOTALLOWED <status>, UPGRADE <id>, OPTIONS <id> (they are too large)

local id, retention_seconds, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local start, max_retries, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[7])
local tags = ARGV[6] ~= '' and cmsgpack.unpack(ARGV[6]) or nil

-- A task waits until a later time. In a list it leaves a tombstone, as a cancelled one does: if it comes back
-- before that is skipped, it is run in its old place, but not before its time.
local function postpone(id, r, start, retry)
  if r.s == 'queued' then
    call('SADD', P .. 'cancelled:' .. r.t, id)
    count(r.t, 'tombstones', 1)
    if retry then
      count(r.t, 'retries_queued', -1)
    end
  end
  call('HDEL', P .. 'task:' .. id, 'q', 'bo')
  delay(id, r.t, string.format('%.0f', start), retry)
  return 'pending'
end

-- Returns the status after it; or nil and an error reply's text.
local function edit()
  local r, problem = record_of(id, retention_seconds)
  if not r then
    return nil, problem
  elseif r.s ~= 'pending' and r.s ~= 'queued' or start and r.pk then
    return nil, 'NOTALLOWED ' .. r.s
  end
  local key, packed = P .. 'task:' .. id, ''
  if tags then
    local could, options = _G.pcall(cmsgpack.unpack, call('HGET', key, 'o') or '\128')
    options = could and type(options) == 'table' and options or {}
    options.t = #tags > 0 and tags or nil
    packed = next(options) and cmsgpack.pack(options) or ''
    if #packed > most_bytes then
      return nil, 'OPTIONS ' .. id
    elseif #tags > 0 and whole(r.v) < 2 and an_old_worker_lives(lease_ms) then
      return nil, 'UPGRADE ' .. id
    end
  end
  if max_retries then
    call('HSET', key, 'm', max_retries)
  end
  if packed ~= '' then
    call('HSET', key, 'o', packed, 'v', #tags > 0 and 2 or r.v)
  elseif tags then
    call('HDEL', key, 'o')
  end
  if start and start > now then
    return postpone(id, r, start, is_retry(r.rc, r.cc))
  elseif start and r.s == 'pending' then
    unpark(id, r)
    return 'queued'
  end
  return r.s
end

local status, problem = edit()
write_counters()
write_ends(retention_seconds)
return status or redis.error_reply(problem)
