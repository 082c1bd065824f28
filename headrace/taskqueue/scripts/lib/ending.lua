-- How a task ends. Needs counters.lua.

-- Final: the record and what belongs to it expire together. Returns false when there is no record: all
-- fields were new then.
-- separate: '1' when the payload has a key of its own.
local function end_task(id, status, separate, kept_state, retention_seconds, ...)
  local key = P .. 'task:' .. id
  if call('HSET', key, 's', status, 'e', NOW, ...) == 2 + select('#', ...) / 2 then
    redis.call('DEL', key)
    return false
  end
  redis.call('EXPIRE', key, retention_seconds)
  if separate then
    redis.call('EXPIRE', P .. 'payload:' .. id, retention_seconds)
  end
  if kept_state then
    redis.call('DEL', P .. 'state:' .. id)
    call('HDEL', key, 'k')
  end
  return true
end

-- A failure that is not tried again. It can be listed, and retried by hand, while its record is kept.
local function bury(id, task_type, message, separate, kept_state, retention_seconds, ...)
  end_task(id, 'failed', separate, kept_state, retention_seconds, 'er', message, ...)
  local dead = P .. 'dead:' .. task_type
  call('ZADD', dead, now, id)
  call('ZREMRANGEBYSCORE', dead, '-inf', now - retention_seconds * 1000)
  redis.call('EXPIRE', dead, retention_seconds)
  count(task_type, 'failures', 1)
end
