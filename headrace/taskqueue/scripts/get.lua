--- include common
-- get: tasks' records, with payload and result wherever they lie. Changes nothing.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1… ids
-- Returns  per task its record's fields and values (see keys.py), empty when there is none

local reply = {}
for i, id in ipairs(ARGV) do
  local record = redis.call('HGETALL', P .. 'task:' .. id)
  for f = 1, #record, 2 do
    if record[f] == 'pl' then
      record[f], record[f + 1] = 'p', redis.call('GET', P .. 'payload:' .. id) or ''
    elseif record[f] == 'rl' then
      record[f], record[f + 1] = 'r', redis.call('GET', P .. 'result:' .. id) or ''
    end
  end
  reply[i] = record
end
return reply
