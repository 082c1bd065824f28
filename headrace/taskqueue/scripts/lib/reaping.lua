-- Tasks are taken from whoever holds them. Needs counters.lua, records.lua, waiting.lua, ending.lua,
-- attempts.lua, leases.lua.

-- Back to the front of its list, as if it had not been claimed. r: its record
local function hand_back(id, task_type, r, retention_seconds)
  if r.x then
    note_attempt(id, r, 'cancelled', retention_seconds)
    end_task(id, task_type, 'cancelled', r, retention_seconds)
    return 'cancelled'
  end
  enqueue(id, task_type, is_retry(r.rc, r.cc), true)
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
-- max_crashes: the task is taken for the cause, and fails. r: its record
-- message: why it counts, if its worker was not lost
local function count_crash(id, task_type, r, max_crashes, retention_seconds, message)
  local crashes = tonumber(r.cc or 0) + 1
  count(task_type, 'crashes', 1)
  note_attempt(id, r, message and 'handed_back' or 'crashed', retention_seconds, message)
  if r.x then
    end_task(id, task_type, 'cancelled', r, retention_seconds, 'cc', crashes)
    return 'cancelled'
  elseif crashes > max_crashes then
    message = message or crash_message(crashes, r.lw)
    bury(id, task_type, message, r, retention_seconds, 'cc', crashes)
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
  local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
  local ends = tonumber(first[2])
  if not ends or ends > now then
    return ends
  end
  -- One lease that has ended, and is no longer in the index.
  local function reap_one(member)
    local id, fence = string.match(member, '^(.*):(%d+)$')
    if not id then
      return name_damage('leases:' .. task_type .. ' ' .. member, 'is not of the form id:fence')
    end
    local r = read_task(id, 'leases:' .. task_type)
    if not r then
      return
    end
    call('HDEL', P .. 'held:' .. (r.w or ''), member)
    if not is_run_by(r, fence) then
      return name_damage('leases:' .. task_type .. ' ' .. member, 'is over, and its task is ' .. r.s)
    end
    call('HSET', P .. 'task:' .. id, 'lf', fence)
    count_crash(id, task_type, r, max_crashes, retention_seconds)
  end

  for _, member in ipairs(call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, 100)) do
    call('ZREM', key, member)
    reap_one(member)
  end
  first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return tonumber(first[2])
end
