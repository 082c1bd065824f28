--- include common, counters, histograms, ending, leases
-- finish: attempts end with a result, or cancelled. Only the holder of the lease may; the same call
-- twice is a success.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds
--       5… per task: id, type, fence, 'completed' or 'cancelled', run time in ms, result
-- Returns  per task its status, or 'lost'
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end

local NOTHING = {}
local held, reply = give_up_leases(worker, 6), {}
for a = 5, #ARGV, 6 do
  local id, task_type, fence, status = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local run_ms, result = tonumber(ARGV[a + 4]), ARGV[a + 5]
  local member = id .. ':' .. fence
  local hold = held[member]
  if hold then
    held[member] = nil -- once, if the call names it twice
    local r = is_marked(hold) and redis.call('HMGET', P .. 'task:' .. id, 'pl', 'k', 'x', 'er') or NOTHING
    if r[3] then
      status = 'cancelled'
    end
    if result == '' then
      end_task(id, status, r[1], r[2], retention_seconds)
    elseif #result > INLINE_BYTES then
      redis.call('SET', P .. 'result:' .. id, result, 'EX', retention_seconds)
      end_task(id, status, r[1], r[2], retention_seconds, 'rl', '1')
    else
      end_task(id, status, r[1], r[2], retention_seconds, 'r', result)
    end
    if status == 'completed' then
      if r[4] then
        redis.call('HDEL', P .. 'task:' .. id, 'er')
      end
      count(task_type, 'completions', 1)
    else
      count(task_type, 'stopped', 1)
    end
    count(task_type, 'service_ms', run_ms)
    measure(task_type, run_ms)
  else
    status = already(id, fence, FINAL)
  end
  reply[#reply + 1] = status
end
write_counters()
write_histograms('r')
return reply
