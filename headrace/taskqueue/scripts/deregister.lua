--- include common, counters, waiting, ending, leases
-- deregister: a worker goes. What it still holds is handed back, no crash counted.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds
-- Returns  how many tasks were handed back
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if not same_epoch(epoch) then
  return epoch_error()
end
allow_writes_when_full()
leases_are_held(lease_ms)
local held = redis.call('HGETALL', P .. 'held:' .. worker)
for i = 1, #held, 2 do
  local id, fence = string.match(held[i], '^(.*):(%d+)$')
  local task_type = string.match(held[i + 1], '^%d+:(.*)$')
  if give_up_lease(id, task_type, fence, worker) then
    hand_back(id, task_type, retention_seconds)
  end
end
redis.call('ZREM', P .. 'workers', worker)
redis.call('DEL', P .. 'worker:' .. worker, P .. 'drain:' .. worker, P .. 'signal:' .. worker)
write_counters()
return #held / 2
