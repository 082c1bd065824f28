--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, reaping, repairing
-- get: tasks' records, with payload and result wherever they lie. Changes nothing, unless a record cannot
-- be used, or its task stands in no index.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  retention in seconds    2… ids
-- Returns  per task its record's fields and values (see keys.py), empty when there is none

local reply = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local r = read_task(id)
  if r then
    repair(id, r, ARGV[1])
  end
  local record = r and call('HGETALL', P .. 'task:' .. id) or {}
  for f = 1, #record, 2 do
    if record[f] == 'pl' then
      record[f], record[f + 1] = 'p', call('GET', P .. 'payload:' .. id) or 'null'
    elseif record[f] == 'rl' then
      record[f], record[f + 1] = 'r', call('GET', P .. 'result:' .. id) or 'null'
    end
  end
  reply[i - 1] = record
end
write_counters()
write_ends(ARGV[1])
return reply
