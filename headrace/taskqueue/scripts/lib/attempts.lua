-- What became of a task's attempts: a list a task, unless it simply succeeds at its first one.

-- The newest are kept. As MAX_ATTEMPTS in limits.py.
local ATTEMPTS_KEPT = 20
-- While its task lives, the list is kept for so long beyond an ended task's: a worker of 0.2.0 may end the
-- task, and knows nothing of the list.
local LIVE_ATTEMPTS_KEPT_SECONDS = 2592000

-- The task lives.
local function keep_attempts(id, retention_seconds)
  redis.call('EXPIRE', P .. 'attempts:' .. id, retention_seconds + LIVE_ATTEMPTS_KEPT_SECONDS)
end

-- How many attempts came before. Whoever calls this may not have checked the record.
local function attempts_before(r)
  return (whole(r.rc) or 0) + (whole(r.cc) or 0)
end

local function failed_before(r)
  return r.at or attempts_before(r) > 0
end

local versions = {}
local function version_of(worker)
  if not versions[worker] then
    versions[worker] = call('HGET', P .. 'worker:' .. worker, 'version') or ''
  end
  return versions[worker]
end

-- To be called before the end of the attempt is written into its task's record.
-- r: that record; outcome: 'completed', 'failed', 'cancelled', 'crashed' or 'handed_back'
-- details: what its worker says besides, packed (see attempts.py); if it does
local function note_attempt(id, r, outcome, retention_seconds, message, details)
  local attempts, worker = P .. 'attempts:' .. id, r.w or ''
  message = message or ''
  local entry = {
    1 + attempts_before(r), worker, version_of(worker), r.b or 0, NOW, outcome, #message,
    message .. (details or ''),
  }
  call('RPUSH', attempts, table.concat(entry, '\n'))
  call('LTRIM', attempts, -ATTEMPTS_KEPT, -1)
  keep_attempts(id, retention_seconds)
  if not r.at then
    r.at = '1'
    call('HSET', P .. 'task:' .. id, 'at', 1)
  end
end

-- A worker that was taken for lost is back and says why.
local function explain_crashes(id, worker, why)
  local attempts = P .. 'attempts:' .. id
  for i, entry in ipairs(call('LRANGE', attempts, 0, -1)) do
    local head, by = string.match(entry, '^(%d+\n([^\n]*)\n[^\n]*\n%d+\n%d+\ncrashed\n)0\n$')
    if by == worker then
      call('LSET', attempts, i - 1, head .. #why .. '\n' .. why)
    end
  end
end
