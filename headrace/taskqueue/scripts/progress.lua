--- include common, counters, records, clock_set_back, leases
-- progress: the holder of a lease says how far it is.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  id    5  type    6  fence
--       7  percent    8  message
-- Returns  1, or 0 when the lease is lost
-- Errors   EPOCH <new>

local epoch, lease_ms, id, task_type = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local fence, percent, message = ARGV[6], ARGV[7], ARGV[8]
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end
if not call('ZSCORE', P .. 'leases:' .. task_type, id .. ':' .. fence) or call('HEXISTS', P .. 'task:' .. id, 's') == 0 then
  return 0
end
call('HSET', P .. 'task:' .. id, 'pp', percent, 'pm', message)
return 1
