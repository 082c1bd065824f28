--- include common, tending, bulks
-- bulk_collect: adds matches to a bulk operation. Nothing happens unless it still is at the place where they
-- were looked for.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  name of the work    2  holder    3  fence    4  id    5  retention in seconds
--       6  the place where these were looked for    7  the next one, '' after the last
--       8… ids
-- Returns  how many there are by now
-- Errors   FENCED <name>

local name, holder, fence, id, retention_seconds = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not is_tended_by(name, holder, fence) then
  return redis.error_reply('FENCED ' .. name)
end
local key = bulk_key(id)
local total, place = unpack(call('HMGET', key, 'total', 'place'))
total = whole(total) or 0
if place ~= ARGV[6] then
  return total
end
if #ARGV > 7 then
  total = total + #ARGV - 7
  call('RPUSH', bulk_ids_key(id), unpack(ARGV, 8))
end
call('HSET', key, 'total', total)
if ARGV[7] ~= '' then
  call('HSET', key, 'place', ARGV[7])
else
  call('HDEL', key, 'place')
  if total == 0 then
    end_bulk(id)
  end
end
keep_bulk(id, retention_seconds)
return total
