--- include common, counters, records, clock_set_back, leases, holds, versions, journals
-- append: the holder of a lease adds entries to its task's journal. The same call twice is a success. Without
-- any entry it only makes the record one of version 2, which 0.2.0 leaves alone.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  id    5  type    6  fence
--       7  how many entries the journal has, as the caller knows it    8… the entries
-- Returns  1, or 0 when the lease is lost
-- Errors   EPOCH <new>, UPGRADE <id>

local worker, epoch, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local id, task_type, fence, before = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local FIRST = 8
local count = #ARGV - FIRST + 1
local member = id .. ':' .. fence
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end
local found = call('HMGET', P .. 'task:' .. id, 'v', 'j')
local r = { v = found[1], j = found[2] }
if not (call('ZSCORE', P .. 'leases:' .. task_type, member) and whole(r.v) and whole(r.j or 0)) then
  return 0
end
local present = whole(r.j or 0)
if count > 0 and present == before + count then
  return 1
elseif present ~= before then
  return 0
elseif is_too_early(r, 1, lease_ms) then
  return redis.error_reply('UPGRADE ' .. id)
end
append_entries(id, r, FIRST, count)
mark_hold(worker, member)
return 1
