--- include common, counters, waiting
-- replay: a failed or cancelled task is queued again, its retries counted from 0.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  the queue's maximum length
-- Returns  'queued'
-- Errors   NOTFOUND <id>, NOTALLOWED <status>, FULL <type>

local id, max_length = ARGV[1], tonumber(ARGV[2])
local key = P .. 'task:' .. id
local r = redis.call('HMGET', key, 's', 't', 'z', 'pl')
local status, task_type, tombstone, separate = r[1], r[2], r[3], r[4]
if not status then
  return redis.error_reply('NOTFOUND ' .. id)
end
if status ~= 'failed' and status ~= 'cancelled' then
  return redis.error_reply('NOTALLOWED ' .. status)
end
if waiting_length(task_type, max_length - 1) >= max_length then
  return redis.error_reply('FULL ' .. task_type)
end
redis.call('ZREM', P .. 'dead:' .. task_type, id)
redis.call('DEL', P .. 'result:' .. id)
redis.call('HDEL', key, 'rc', 'cc', 'e', 'b', 'r', 'rl', 'er', 'x', 'z', 'pp', 'pm', 'pk', 'd', 'hb', 'lf', 'lw')
redis.call('PERSIST', key)
if separate then
  redis.call('PERSIST', P .. 'payload:' .. id)
end
if tombstone then
  -- Its id never left the list: it counts again, and is not pushed twice.
  redis.call('HSET', key, 's', 'queued', 'q', now)
  count(task_type, 'tombstones', -1)
else
  enqueue(id, task_type, false, false)
end
count(task_type, 'arrivals', 1)
redis.call('SADD', P .. 'queues', task_type)
wake(task_type)
write_counters()
return 'queued'
