--- include common, counters, records, waiting, ending, attempts, clock, leases, reaping, repairing, versions
-- retry: a failed or cancelled task is queued again, its retries counted from 0.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  the queue's maximum length    3  retention in seconds    4  lease in ms
-- Returns  'queued'
-- Errors   NOTFOUND <id>, NOTALLOWED <status>, FULL <type>, UPGRADE <id>

local id, max_length, retention_seconds, lease_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local key = P .. 'task:' .. id
local r = read_task(id)
if not r then
  return redis.error_reply('NOTFOUND ' .. id)
end
local task_type = r.t
if repair(id, r, retention_seconds) then
  write_counters()
  write_ends(retention_seconds)
  r = read_task(id)
  if r.s == 'queued' then
    return r.s
  end
end
if r.s ~= 'failed' and r.s ~= 'cancelled' then
  return redis.error_reply('NOTALLOWED ' .. r.s)
end
if waiting_length(task_type, max_length - 1) >= max_length then
  return redis.error_reply('FULL ' .. task_type)
end
if whole(r.v) > 1 and an_old_worker_lives(lease_ms) then
  return redis.error_reply('UPGRADE ' .. id)
end
forget_end(id, task_type, r.s)
redis.call('DEL', P .. 'result:' .. id, P .. 'inbox:' .. id, P .. 'journal:' .. id)
call('HDEL', key, 'rc', 'cc', 'bo', 'e', 'b', 'r', 'rl', 'er', 'x', 'z', 'pp', 'pm', 'pk', 'd',
  'hb', 'lf', 'lw', 'i', 'j')
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
write_counters()
return 'queued'
