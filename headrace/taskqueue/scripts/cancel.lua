--- include common, counters, records, waiting, ending, attempts, clock, leases, holds, reaping, repairing
-- cancel: cancels a task that has not begun; asks a running task to stop, if the caller wants that.
-- O(1) at any depth: a cancelled task stays in its list as a tombstone, which the claim skips.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  '1': also a running one    3  retention in seconds
-- Returns  the status before; 'cancelled' after it for 'pending' and 'queued', asked to stop for
--          'running'
-- Errors   NOTFOUND <id>, NOTALLOWED <status>

local id, running_too, retention_seconds = ARGV[1], ARGV[2] == '1', ARGV[3]
local key = P .. 'task:' .. id
local r = read_task(id)
if not r then
  return redis.error_reply('NOTFOUND ' .. id)
end
allow_writes_when_full()
if repair(id, r, retention_seconds) then
  r = read_task(id)
end
local status, task_type, retry = r.s, r.t, is_retry(r.rc, r.cc)
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
  write_counters()
  write_ends(retention_seconds)
  return redis.error_reply('NOTALLOWED ' .. status)
end
write_counters()
write_ends(retention_seconds)
return status
