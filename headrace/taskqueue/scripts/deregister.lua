--- include common, counters, waiting, ending, leases, reaping
-- deregister: a worker goes. What it still holds is handed back, no crash counted.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds
-- Returns  how many tasks were handed back
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end
local held = redis.call('HGETALL', P .. 'held:' .. worker)
for i = 1, #held, 2 do
  local id, fence = string.match(held[i], '^(.*):(%d+)$')
  local _, task_type = parts_of(held[i + 1])
  if give_up_lease(id, task_type, fence, worker) then
    hand_back(id, task_type, retention_seconds)
  end
end
redis.call('ZREM', P .. 'workers', worker)
redis.call('DEL', P .. 'worker:' .. worker, P .. 'drain:' .. worker, P .. 'signal:' .. worker)
write_counters()
return #held / 2
