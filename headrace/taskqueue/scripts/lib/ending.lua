-- How a task ends, and how that is told. Needs counters.lua, and family.lua to end tasks.
--
-- A script that may end tasks calls write_ends once, at its end: however many there are, they are one
-- entry an index and one message.

-- Where ended tasks of a type are found: id → when it ended.
local function ended_key(task_type, status)
  return status == 'failed' and P .. 'dead:' .. task_type or P .. 'ended:' .. task_type .. ':' .. status
end

-- By type and status: when, id, when, id …
local ends = {}

local function note_end(id, task_type, status, at)
  local by_status = ends[task_type]
  if not by_status then
    by_status = {}
    ends[task_type] = by_status
  end
  local entries = by_status[status]
  if not entries then
    entries = {}
    by_status[status] = entries
  end
  local n = #entries
  entries[n + 1], entries[n + 2] = at, id
end

-- Final: the record and what belongs to it expire together. Returns false when there is no record: all
-- fields were new then.
-- r: its record, of which `pl`, `k`, `j`, `i` and `at` are looked at, what has a key of its own;
-- and `pa`, `ch` and `w`
local function end_task(id, task_type, status, r, retention_seconds, ...)
  local key = P .. 'task:' .. id
  if call('HSET', key, 's', status, 'e', NOW, ...) == 2 + select('#', ...) / 2 then
    redis.call('DEL', key)
    return false
  end
  redis.call('EXPIRE', key, retention_seconds)
  if r.pl then
    redis.call('EXPIRE', P .. 'payload:' .. id, retention_seconds)
  end
  if r.i then
    redis.call('EXPIRE', P .. 'inbox:' .. id, retention_seconds)
  end
  if r.at then
    redis.call('EXPIRE', P .. 'attempts:' .. id, retention_seconds)
  end
  if r.k then
    redis.call('DEL', P .. 'state:' .. id)
    call('HDEL', key, 'k')
  end
  if r.j then
    redis.call('DEL', P .. 'journal:' .. id)
    call('HDEL', key, 'j')
  end
  if r.ch then
    leave_children(id, status, r, retention_seconds)
  end
  if r.pa then
    tell_parent(id, status, r.pa)
  end
  note_end(id, task_type, status, NOW)
  return true
end

-- A failure that is not retried by itself. It can be listed, and retried by hand, while its record is kept.
local function bury(id, task_type, message, r, retention_seconds, ...)
  end_task(id, task_type, 'failed', r, retention_seconds, 'er', message, ...)
  count(task_type, 'failures', 1)
end

-- It runs again.
local function forget_end(id, task_type, status)
  call('ZREM', ended_key(task_type, status), id)
end

-- Every so many calls that end tasks, what is older than the retention leaves the indexes, at most so many.
local PRUNE_EVERY, PRUNED_AT_ONCE = 64, 1000

local function prune(key, retention_seconds)
  local before = now - retention_seconds * 1000
  local old = call('ZRANGEBYSCORE', key, '-inf', before, 'LIMIT', 0, PRUNED_AT_ONCE)
  if #old > 0 then
    call('ZREM', key, unpack(old))
  end
end

-- Writes the ends that were noted into their indexes, and publishes them: the number of this message, then
-- each status that occurs, and behind it the ids. The number's counter in meta tells a reader whether it has
-- missed one. Nobody may hear it, and a user of Redis without the right to publish ends tasks all the same.
local function write_ends(retention_seconds)
  if not next(ends) then
    return
  end
  local number = call('HINCRBY', KEYS[1], 'ends', 1)
  local message = { string.format('%.0f', number) }
  for task_type, by_status in pairs(ends) do
    for status, entries in pairs(by_status) do
      local key = ended_key(task_type, status)
      call('ZADD', key, unpack(entries))
      if number % PRUNE_EVERY == 0 then
        prune(key, retention_seconds)
      end
      redis.call('EXPIRE', key, retention_seconds)
      message[#message + 1] = status
      for i = 2, #entries, 2 do
        message[#message + 1] = entries[i]
      end
    end
  end
  redis.pcall('PUBLISH', P .. 'ends', table.concat(message, ' '))
  ends = {}
end
