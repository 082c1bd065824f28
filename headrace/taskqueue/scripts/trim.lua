--- include common, counters, ending, tending
-- trim: cuts the indexes of ended tasks to their bounds, the oldest entries first. Entries older than the
-- retention leave them, too. Failed tasks are bound by that alone: a dead letter is kept as long as its record.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  name of the work    2  holder    3  fence    4  retention in seconds
--       5  how many entries an index may have    6  how many all of them together
--       7  how many entries are removed at most
-- Returns  how many were removed, and 1 if more are to be removed
-- Errors   FENCED <name>

local name, holder, fence, retention_seconds = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local most, most_in_all, budget = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
if not is_tended_by(name, holder, fence) then
  return redis.error_reply('FENCED ' .. name)
end
allow_writes_when_full()

local removed, more = 0, 0
local function remove_oldest(key, count)
  if count > budget - removed then
    count, more = budget - removed, 1
  end
  if count > 0 then
    redis.call('ZREMRANGEBYRANK', key, 0, count - 1)
    removed = removed + count
  end
end

-- What is cut before its time is not counted any more: the end of the newest such task says for how long.
local function cut_oldest(key, count, task_type, status)
  local newest = count > 0 and call('ZRANGE', key, count - 1, count - 1, 'WITHSCORES')[2]
  if newest then
    call('HSET', P .. 'counts:' .. task_type, 'cut_' .. status, newest)
  end
  remove_oldest(key, count)
end

local before = now - retention_seconds * 1000
local sizes, total = {}, 0
for _, task_type in ipairs(call('SMEMBERS', P .. 'queues')) do
  for _, status in ipairs({ 'completed', 'cancelled', 'failed' }) do
    local key = ended_key(task_type, status)
    remove_oldest(key, call('ZCOUNT', key, '-inf', before))
    if status ~= 'failed' then
      cut_oldest(key, redis.call('ZCARD', key) - most, task_type, status)
      local size = redis.call('ZCARD', key)
      sizes[#sizes + 1] = { key, size, task_type, status }
      total = total + size
    end
  end
end
-- All of them together are too many: each gives its share.
if total > most_in_all then
  for _, index in ipairs(sizes) do
    local key, size, task_type, status = unpack(index)
    cut_oldest(key, size - math.floor(size * most_in_all / total), task_type, status)
  end
end
return { removed, more }
