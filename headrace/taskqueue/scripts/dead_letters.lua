--- include common, records
-- dead_letters: the records of failed tasks, the latest first, without payload and result: a page of
-- large ones would hold up all that shares the connection. Records that cannot be used are set aside.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  type    2  offset    3  how many
-- Returns  how many there are, then for each its id, and its fields and values (see keys.py)

local LEFT_OUT = { p = true, pl = true, r = true, rl = true }
local dead, offset, limit = P .. 'dead:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local reply = { call('ZCARD', dead) }
for _, id in ipairs(call('ZREVRANGE', dead, offset, offset + limit - 1)) do
  local record, kept = read_task(id) and call('HGETALL', P .. 'task:' .. id) or {}, {}
  for f = 1, #record, 2 do
    if not LEFT_OUT[record[f]] then
      kept[#kept + 1], kept[#kept + 2] = record[f], record[f + 1]
    end
  end
  reply[#reply + 1], reply[#reply + 2] = id, kept
end
return reply
