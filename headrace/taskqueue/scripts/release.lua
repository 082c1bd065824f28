--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, holds, reaping
-- release: a worker hands tasks back unfinished, to the front of their list. No crash is counted, unless a
-- task comes back again and again right after its attempt began: such a task seems to stop its workers.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds
--       5… per task: id, type, fence, run time in ms (0: it never began), how many crashes fail it
-- Returns  per task its status ('queued', 'cancelled', 'failed'), or 'lost'
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local AFTERWARDS = { queued = true, cancelled = true, failed = true }
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end

-- How often a task may come back within an hour, and how soon counts.
local SOON_MS, OFTEN, HOUR_MS = 60000, 10, 3600000

-- Counts one more time that a task came back soon; returns how often by now once that is too often.
local function too_often(key)
  local since, times = string.match(redis.call('HGET', key, 'hb') or '', '^(%d+):(%d+)$')
  since, times = tonumber(since), tonumber(times)
  if not since or since > now or now - since > HOUR_MS then
    since, times = now, 0
  end
  times = times + 1
  redis.call('HSET', key, 'hb', string.format('%.0f:%d', since, times))
  return times > OFTEN and times
end

local reply = {}
for a = 5, #ARGV, 5 do
  local id, task_type, fence = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local run_ms, max_crashes = tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local key = P .. 'task:' .. id
  local r, status = give_up_lease(id, task_type, fence, worker, AFTERWARDS)
  local times = r and run_ms > 0 and run_ms < SOON_MS and too_often(key)
  if times then
    local message = 'it was handed back ' .. times .. ' times within an hour, each time within 60 s of '
      .. 'its start: it seems to stop the workers that run it'
    status = count_crash(id, task_type, r, max_crashes, retention_seconds, message)
    if status == 'queued' then
      redis.call('HSET', key, 'er', message)
      wake(task_type)
    end
  elseif r then
    status = hand_back(id, task_type, r, retention_seconds)
  end
  reply[#reply + 1] = status
end
write_counters()
write_ends(retention_seconds)
return reply
