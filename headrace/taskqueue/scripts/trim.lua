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

local before = now - retention_seconds * 1000
local sizes, total = {}, 0
for _, task_type in ipairs(call('SMEMBERS', P .. 'queues')) do
  for _, status in ipairs({ 'completed', 'cancelled', 'failed' }) do
    local key = ended_key(task_type, status)
    remove_oldest(key, call('ZCOUNT', key, '-inf', before))
    if status ~= 'failed' then
      remove_oldest(key, redis.call('ZCARD', key) - most)
      sizes[key] = redis.call('ZCARD', key)
      total = total + sizes[key]
    end
  end
end
-- All of them together are too many: each gives its share.
if total > most_in_all then
  for key, size in pairs(sizes) do
    remove_oldest(key, size - math.floor(size * most_in_all / total))
  end
end
return { removed, more }
