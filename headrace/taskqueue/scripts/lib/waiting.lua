-- How a task comes to wait: in its list, or delayed until its time. Needs counters.lua.

-- The list of a type's waiting tasks of one priority. 0 is the only one so far, and stands in no key.
local function list_key(task_type, priority)
  return P .. 'queue:' .. task_type .. (priority == 0 and '' or ':' .. priority)
end

-- One token in wake:<type> wakes one idle worker; whoever claims all it asked for pushes the next.
local function wake(task_type)
  local tokens = P .. 'wake:' .. task_type
  if call('LLEN', tokens) == 0 then
    redis.call('LPUSH', tokens, 1)
  end
end

-- Not a first attempt: something failed or crashed before.
local function is_retry(retry_count, crash_count)
  return tonumber(retry_count or 0) + tonumber(crash_count or 0) > 0
end

-- Delayed tasks stand in one index, retries of them in another, so that both are counted exactly.
local function delayed_key(task_type, retry)
  return P .. (retry and 'retries:' or 'delayed:') .. task_type
end

-- How many tasks wait, the delayed ones included: what the maximum length bounds. Exact when it is more
-- than `enough`; else cancelled ones that still stand in the list may be among them.
local function waiting_length(task_type, enough)
  local length = call('LLEN', list_key(task_type, 0))
  local delayed, retries = delayed_key(task_type, false), delayed_key(task_type, true)
  if redis.call('EXISTS', delayed, retries) > 0 then -- mostly neither: one question less
    length = length + call('ZCARD', delayed) + call('ZCARD', retries)
  end
  if length <= enough then
    return length
  end
  return length - (whole(call('HGET', P .. 'counts:' .. task_type, 'tombstones')) or 0)
end

-- When a task is due that waits for nothing but an item in its inbox: never. It stands among the delayed
-- ones, behind all others, and is counted with none.
local NEVER = '9000000000000000'

local function delay(id, task_type, due, retry, ...)
  call('HSET', P .. 'task:' .. id, 's', 'pending', 'd', due, ...)
  call('ZADD', delayed_key(task_type, retry), due, id)
  wake(task_type)
end

-- Puts a task into its list; at the front when it was running before. since: if not from now on.
local function enqueue(id, task_type, retry, front, since)
  call('HSET', P .. 'task:' .. id, 's', 'queued', 'q', since or now)
  call(front and 'LPUSH' or 'RPUSH', list_key(task_type, 0), id)
  if retry then
    count(task_type, 'retries_queued', 1)
  end
end
