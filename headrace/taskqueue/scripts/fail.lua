--- include common, counters, histograms, records, waiting, family, ending, attempts, clock_set_back, leases, holds
-- fail: attempts end with an error. While retries remain the task is delayed by its back-off, then it
-- is failed for good. Only the holder of the lease may; the same call twice is a success.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds
--       5… per task: id, type, fence, error, back-off in ms (-1: not to be retried), run time in ms,
--          details (see attempts.py), the error as a JSON document or ''
-- Returns  per task its status ('pending': it will be retried), or 'lost'
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local AFTERWARDS = { pending = true, queued = true, failed = true, cancelled = true }
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end

local reply = {}
for a = 5, #ARGV, 8 do
  local id, task_type, fence, message = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local back_off, run_ms = tonumber(ARGV[a + 4]), tonumber(ARGV[a + 5])
  local r, status = give_up_lease(id, task_type, fence, worker, AFTERWARDS)
  if r then
    local retries, max_retries = tonumber(r.rc or 0), tonumber(r.m or 3)
    note_attempt(id, r, r.x and 'cancelled' or 'failed', retention_seconds, message, ARGV[a + 6])
    if r.x then
      status = 'cancelled'
      end_task(id, task_type, status, r, retention_seconds, 'er', message)
      count(task_type, 'stopped', 1)
    elseif back_off >= 0 and retries < max_retries then
      status = 'pending'
      call('HSET', P .. 'task:' .. id, 'rc', retries + 1, 'er', message)
      call('HDEL', P .. 'task:' .. id, 'pk')
      delay(id, task_type, now + back_off, true, 'bo', back_off)
      count(task_type, 'retries', 1)
    else
      status = 'failed'
      local problem = ARGV[a + 7]
      if problem == '' then
        bury(id, task_type, message, r, retention_seconds)
      else
        bury(id, task_type, message, r, retention_seconds, 'ep', problem)
      end
    end
    count(task_type, 'service_ms', run_ms)
    measure(task_type, run_ms)
  end
  reply[#reply + 1] = status
end
write_counters()
write_histograms('r')
write_ends(retention_seconds)
return reply
