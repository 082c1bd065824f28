--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, reaping
-- stalled: a worker stood still and is back. Counts that for the types that it ran. Notes with each task
-- that was taken back meanwhile why its lease ended: its worker was not lost.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  how many crashes fail a task    5  why
--       6… per task: id, type, fence
-- Returns  how many of the tasks had been taken back
-- Errors   EPOCH <new>

local worker, epoch, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local max_crashes, why = tonumber(ARGV[4]), ARGV[5]
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end

local counted_types, lost = {}, 0
for a = 6, #ARGV, 3 do
  local id, task_type, fence = ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 2])
  if not counted_types[task_type] then
    counted_types[task_type] = true
    count(task_type, 'stalls', 1)
  end
  local key = P .. 'task:' .. id
  local r = read_task(id)
  if r and fence <= (whole(r.lf) or 0) then
    lost = lost + 1
    local crashes = tonumber(r.cc or 0)
    call('HSET', key, 'lw', why)
    explain_crashes(id, worker, why)
    if r.s == 'failed' and crashes > max_crashes then
      call('HSET', key, 'er', crash_message(crashes, why))
    end
  end
end
write_counters()
return lost
