--- include common, counters, records, clock, leases, holds
-- checkpoint: the holder of a lease stores bytes with its task, to continue from after a crash.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  id    5  type    6  fence    7  state
-- Returns  1, or 0 when the lease is lost
-- Errors   EPOCH <new>

local worker, epoch, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local id, task_type, fence, state = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local member = id .. ':' .. fence
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end
if not call('ZSCORE', P .. 'leases:' .. task_type, member) or call('HEXISTS', P .. 'task:' .. id, 's') == 0 then
  return 0
end
redis.call('SET', P .. 'state:' .. id, state)
call('HSET', P .. 'task:' .. id, 'k', 1)
mark_hold(worker, member)
return 1
