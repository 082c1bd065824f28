--- include common, counters, records, waiting, ending, clock, leases, holds
-- park: a run gives its lease up until a later time, and leaves bytes to go on from. No retry, no
-- arrival, no completion; its start time stays. What it got through is behind it: crashes are counted
-- anew from here, or a run of weeks would be taken for poison for its fourth lost worker.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds
--       5… per task: id, type, fence, when to go on (ms since 1970), state, run time in ms
-- Returns  per task its status ('pending'), or 'lost'
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local AFTERWARDS = { pending = true, queued = true, cancelled = true }
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end

local reply = {}
for a = 5, #ARGV, 6 do
  local id, task_type, fence = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local due, state, run_ms = tonumber(ARGV[a + 3]), ARGV[a + 4], tonumber(ARGV[a + 5])
  local r, status = give_up_lease(id, task_type, fence, worker, AFTERWARDS)
  if r then
    local key = P .. 'task:' .. id
    if r.x then
      status = 'cancelled'
      end_task(id, task_type, status, r.pl, r.k, retention_seconds)
      count(task_type, 'stopped', 1)
      count(task_type, 'service_ms', run_ms)
    else
      status = 'pending'
      redis.call('SET', P .. 'state:' .. id, state)
      call('HSET', key, 'k', 1, 'pk', 1)
      if r.cc then
        call('HDEL', key, 'cc', 'lf', 'lw')
      end
      delay(id, task_type, due, is_retry(r.rc, 0))
      count(task_type, 'parked_ms', run_ms)
    end
  end
  reply[#reply + 1] = status
end
write_counters()
write_ends(retention_seconds)
return reply
