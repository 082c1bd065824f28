--- include common, counters, records, waiting, family, ending, finding
-- list: tasks that a filter asks for, in order, without payload and result if those are large. Changes nothing,
-- unless a record cannot be used.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  the filter, packed: see TaskFilter in listing.py    2  the place to go on from, packed; '': the
--          beginning    3  how many tasks at most    4  how many are looked at    5  '1': ids alone
-- Returns  how many were looked at, the place to go on from ('': there is nothing more), then for each task its
--          id, and unless ids alone are wanted its fields and values (see keys.py)
-- Errors   TOOMANYTYPES <how many>

local filter = cmsgpack.unpack(ARGV[1])
local place = ARGV[2] ~= '' and cmsgpack.unpack(ARGV[2]) or nil
local ids_alone = ARGV[5] == '1'
local tasks = {}
local scanned, last = find(filter, place, tonumber(ARGV[3]), tonumber(ARGV[4]), function(id)
  tasks[#tasks + 1] = id
  if not ids_alone then
    tasks[#tasks + 1] = call('HGETALL', P .. 'task:' .. id)
  end
end)
if not scanned then
  return redis.error_reply('TOOMANYTYPES ' .. last)
end
return { scanned, last and cmsgpack.pack(last) or '', unpack(tasks) }
