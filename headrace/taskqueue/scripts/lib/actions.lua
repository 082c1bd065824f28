-- What a user does with a task: cancel, retry, run it now, delete it. A function each, which a script calls for
-- one task or for many. It returns the status after it; or nil and an error reply's text, and has written
-- nothing then. Needs what reaping.lua needs, and versions.lua.

-- A task's record, repaired if it stood in no index; nil and NOTFOUND when there is none.
local function record_of(id, retention_seconds)
  local r = read_task(id)
  if r and repair(id, r, retention_seconds) then
    r = read_task(id)
  end
  if not r then
    return nil, 'NOTFOUND ' .. id
  end
  return r
end

-- O(1) at any depth: a cancelled task stays in its list as a tombstone, which the claim skips.
-- running_too: a running task is asked to stop. Returns the status before: 'running' if it was asked.
local function cancel_task(id, running_too, retention_seconds)
  local r, problem = record_of(id, retention_seconds)
  if not r then
    return nil, problem
  end
  local key, status, task_type, retry = P .. 'task:' .. id, r.s, r.t, is_retry(r.rc, r.cc)
  if status == 'pending' then
    call('ZREM', delayed_key(task_type, retry), id)
    call('HDEL', key, 'd', 'wo')
    end_task(id, task_type, 'cancelled', r, retention_seconds)
  elseif status == 'queued' then
    end_task(id, task_type, 'cancelled', r, retention_seconds, 'z', 1)
    call('SADD', P .. 'cancelled:' .. task_type, id)
    count(task_type, 'tombstones', 1)
    if retry then
      count(task_type, 'retries_queued', -1)
    end
  elseif status == 'running' and running_too then
    if not r.x then -- asked once, it is told at its worker's next heartbeat in any case
      call('HSET', key, 'x', 1)
      mark_hold(r.w, id .. ':' .. r.f)
      call('LPUSH', P .. 'signal:' .. r.w, 1)
      redis.call('EXPIRE', P .. 'signal:' .. r.w, 60)
    end
  else
    return nil, 'NOTALLOWED ' .. status
  end
  return status
end

-- A failed or cancelled task is queued again, its retries counted from 0.
local function retry_task(id, max_length, retention_seconds, lease_ms)
  local r = read_task(id)
  if not r then
    return nil, 'NOTFOUND ' .. id
  elseif repair(id, r, retention_seconds) then
    r = read_task(id)
    if r.s == 'queued' then
      return r.s
    end
  end
  local key, task_type = P .. 'task:' .. id, r.t
  if r.s ~= 'failed' and r.s ~= 'cancelled' then
    return nil, 'NOTALLOWED ' .. r.s
  elseif waiting_length(task_type, max_length - 1) >= max_length then
    return nil, 'FULL ' .. task_type
  elseif whole(r.v) > 1 and an_old_worker_lives(lease_ms) then
    return nil, 'UPGRADE ' .. id
  end
  forget_end(id, task_type, r.s)
  redis.call('DEL', P .. 'result:' .. id, P .. 'inbox:' .. id, P .. 'journal:' .. id, P .. 'children:' .. id)
  call('HDEL', key, 'rc', 'cc', 'bo', 'e', 'b', 'r', 'rl', 'er', 'x', 'z', 'pp', 'pm', 'pk', 'd',
    'hb', 'lf', 'lw', 'i', 'j', 'ch', 'ep')
  call('HINCRBY', key, 'g', 1)
  redis.call('PERSIST', key)
  if r.pl then
    redis.call('PERSIST', P .. 'payload:' .. id)
  end
  if r.at then
    keep_attempts(id, retention_seconds)
  end
  if r.z then
    -- Its id never left the list: it counts again, and is not pushed twice.
    call('HSET', key, 's', 'queued', 'q', now)
    call('SREM', P .. 'cancelled:' .. task_type, id)
    count(task_type, 'tombstones', -1)
  else
    enqueue(id, task_type, false, false)
  end
  count(task_type, 'arrivals', 1)
  call('SADD', P .. 'queues', task_type)
  wake(task_type)
  return 'queued'
end

-- A pending task is queued before its time.
local function run_task_now(id, retention_seconds)
  local r, problem = record_of(id, retention_seconds)
  if not r then
    return nil, problem
  elseif r.s ~= 'pending' then
    return nil, 'NOTALLOWED ' .. r.s
  end
  unpark(id, r)
  return 'queued'
end

-- An ended task, and everything that is kept of it. If its id still stands in a list, it stays there as the
-- tombstone that it is.
local function delete_task(id, retention_seconds)
  local r, problem = record_of(id, retention_seconds)
  if not r then
    return nil, problem
  elseif not FINAL[r.s] then
    return nil, 'NOTALLOWED ' .. r.s
  end
  forget_end(id, r.t, r.s)
  local kinds = { 'task:', 'payload:', 'result:', 'attempts:', 'inbox:', 'state:', 'journal:', 'children:' }
  for _, kind in ipairs(kinds) do
    redis.call('DEL', P .. kind .. id)
  end
  return 'deleted'
end
