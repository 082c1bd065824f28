--- include common, counters, waiting, ending, leases, reaping
-- release: tasks are handed back unfinished, to the front of their list. No crash is counted.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds
--       5… per task: id, type, fence
-- Returns  per task its status ('queued'), or 'lost'
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local AFTERWARDS = { queued = true, cancelled = true }
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end

local reply = {}
for a = 5, #ARGV, 3 do
  local id, task_type, fence = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  if give_up_lease(id, task_type, fence, worker) then
    reply[#reply + 1] = hand_back(id, task_type, retention_seconds)
  else
    reply[#reply + 1] = already(id, fence, AFTERWARDS)
  end
end
write_counters()
return reply
