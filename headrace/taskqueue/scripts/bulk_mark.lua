--- include common, bulks
-- bulk_mark: stops a bulk operation, or lets it go on. One that has ended stays as it is.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  'stop' or 'resume'    3  retention in seconds
-- Returns  'OK'
-- Errors   NOBULK <id>

local id, key = ARGV[1], bulk_key(ARGV[1])
local created, ended = unpack(call('HMGET', key, 'created', 'ended'))
if not created then
  return redis.error_reply('NOBULK ' .. id)
elseif not ended then
  if ARGV[2] == 'stop' then
    call('HSET', key, 'stopped', NOW)
    call('ZREM', P .. 'bulks_active', id)
  else
    call('HDEL', key, 'stopped')
    call('ZADD', P .. 'bulks_active', NOW, id)
  end
  keep_bulk(id, ARGV[3])
end
return 'OK'
