--- include common, counters, records, clock_set_back, leases, holds, versions, journals
-- checkpoint: the holder of a lease stores bytes with its task, to continue from after a crash. They take the
-- place of the state and the journal that were there; entries may begin a new journal.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  id    5  type    6  fence    7  state    8… entries
-- Returns  1, or 0 when the lease is lost
-- Errors   EPOCH <new>, UPGRADE <id>

local worker, epoch, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local id, task_type, fence, state = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local FIRST = 8
local count = #ARGV - FIRST + 1
local member = id .. ':' .. fence
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end
local found = call('HMGET', P .. 'task:' .. id, 'v', 'j', 's')
local r = { v = found[1], j = found[2] }
if not (call('ZSCORE', P .. 'leases:' .. task_type, member) and found[3]) then
  return 0
elseif count > 0 and not whole(r.v) then
  return 0
elseif is_too_early(r, count, lease_ms) then
  return redis.error_reply('UPGRADE ' .. id)
end
redis.call('SET', P .. 'state:' .. id, state)
call('HSET', P .. 'task:' .. id, 'k', 1)
drop_journal(id, r)
if count > 0 then
  append_entries(id, r, FIRST, count)
end
mark_hold(worker, member)
return 1
