-- Tasks are taken from whoever holds them. Needs counters.lua, waiting.lua, ending.lua, leases.lua.

-- Back to the front of its list, as if it had not been claimed.
local function hand_back(id, task_type, retention_seconds)
  local r = redis.call('HMGET', P .. 'task:' .. id, 'rc', 'cc', 'x', 'pl', 'k')
  if r[3] then
    end_task(id, 'cancelled', r[4], r[5], retention_seconds)
    return 'cancelled'
  end
  enqueue(id, task_type, is_retry(r[1], r[2]), true)
  wake(task_type)
  return 'queued'
end

-- why: the last lease of the task ended, if its worker came back and told (see stalled.lua).
local function crash_message(crashes, why)
  if why then
    return why .. '; ' .. crashes .. ' attempts ended without an outcome'
  end
  return 'the worker was lost ' .. crashes .. ' times while it ran this task'
end

-- One attempt more that ended without an outcome: to the front of its list, as a retry. More than
-- max_crashes: the task is taken for the cause, and fails. r: of its record cc, x, pl, k
local function count_crash(id, task_type, r, max_crashes, retention_seconds, message)
  local crashes = tonumber(r[1] or 0) + 1
  count(task_type, 'crashes', 1)
  if r[2] then
    end_task(id, 'cancelled', r[3], r[4], retention_seconds, 'cc', crashes)
    return 'cancelled'
  elseif crashes > max_crashes then
    message = message or crash_message(crashes, redis.call('HGET', P .. 'task:' .. id, 'lw'))
    bury(id, task_type, message, r[3], r[4], retention_seconds, 'cc', crashes)
    count(task_type, 'unreported', 1)
    return 'failed'
  end
  redis.call('HSET', P .. 'task:' .. id, 'cc', crashes)
  enqueue(id, task_type, true, true)
  return 'queued'
end

-- Takes back the expired leases of a queue, at most 100 a call; returns when the next one ends.
local function reap(task_type, max_crashes, retention_seconds)
  local key = P .. 'leases:' .. task_type
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  local ends = tonumber(first[2])
  if not ends or ends > now then
    return ends
  end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', key, member)
    local id, fence = string.match(member, '^(.*):(%d+)$')
    local task = P .. 'task:' .. id
    local h = redis.call('HMGET', task, 's', 'f', 'w')
    if h[3] then
      redis.call('HDEL', P .. 'held:' .. h[3], member)
    end
    if h[1] == 'running' and h[2] == fence then
      redis.call('HSET', task, 'lf', fence)
      local r = redis.call('HMGET', task, 'cc', 'x', 'pl', 'k')
      count_crash(id, task_type, r, max_crashes, retention_seconds)
    end
  end
  first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return tonumber(first[2])
end
