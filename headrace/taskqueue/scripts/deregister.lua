--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, holds, reaping
-- deregister: a worker ends. Tasks that it still holds are handed back; no crash is counted.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds    5… its queues
-- Returns  how many tasks were handed back
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end
local held = call('HGETALL', P .. 'held:' .. worker)
for i = 1, #held, 2 do
  local id, fence, _, task_type = entry_of(worker, held[i], held[i + 1])
  local r = id and give_up_lease(id, task_type, fence, worker, FINAL)
  if r then
    hand_back(id, task_type, r, retention_seconds)
  end
end
for i = 5, #ARGV do
  call('HSET', P .. 'left', ARGV[i], NOW .. ':' .. worker)
end
call('ZREM', P .. 'workers', worker)
redis.call('DEL', P .. 'worker:' .. worker, P .. 'drain:' .. worker, P .. 'signal:' .. worker)
write_counters()
write_ends(retention_seconds)
return #held / 2
