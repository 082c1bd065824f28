--- include common, counters, waiting, ending, leases
-- cancel: a task that has not begun is cancelled; one that runs is asked to stop, if that is wished.
-- O(1) at any depth: a cancelled task stays in its list as a tombstone, which the claim skips.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  '1': also a running one    3  retention in seconds
-- Returns  the status before; 'cancelled' after it for 'pending' and 'queued', asked to stop for
--          'running'
-- Errors   NOTFOUND <id>, NOTALLOWED <status>

local id, running_too, retention_seconds = ARGV[1], ARGV[2] == '1', ARGV[3]
local key = P .. 'task:' .. id
local r = redis.call('HMGET', key, 's', 't', 'rc', 'cc', 'w', 'pl', 'k', 'x', 'f')
local status, task_type = r[1], r[2]
if not status then
  return redis.error_reply('NOTFOUND ' .. id)
end
allow_writes_when_full()
local retry = is_retry(r[3], r[4])
if status == 'pending' then
  redis.call('ZREM', delayed_key(task_type, retry), id)
  redis.call('HDEL', key, 'd')
  end_task(id, 'cancelled', r[6], r[7], retention_seconds)
elseif status == 'queued' then
  end_task(id, 'cancelled', r[6], r[7], retention_seconds, 'z', 1)
  count(task_type, 'tombstones', 1)
  if retry then
    count(task_type, 'retries_queued', -1)
  end
elseif status == 'running' and running_too then
  if not r[8] then -- asked once, it is told at its worker's next heartbeat in any case
    redis.call('HSET', key, 'x', 1)
    mark_hold(r[5], id .. ':' .. r[9])
    redis.call('LPUSH', P .. 'signal:' .. r[5], 1)
    redis.call('EXPIRE', P .. 'signal:' .. r[5], 60)
  end
else
  return redis.error_reply('NOTALLOWED ' .. status)
end
write_counters()
return status
