--- include common, bulks
-- bulk_start: makes a bulk operation. One of the same id stays as it is.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  retention in seconds    3  how many may be worked on    4  how many are kept
--       5… fields and values of its record
-- Returns  1, or 0 if it is there already
-- Errors   TOOMANYBULKS <how many are worked on>

local id, retention_seconds, most_active, kept = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if call('EXISTS', bulk_key(id)) == 1 then
  return 0
end
local expired = call('ZRANGEBYSCORE', P .. 'bulks_active', '-inf', now - retention_seconds * 1000)
if #expired > 0 then
  call('ZREM', P .. 'bulks_active', unpack(expired))
end
local active = call('ZCARD', P .. 'bulks_active')
if active >= most_active then
  return redis.error_reply('TOOMANYBULKS ' .. active)
end
draw_epoch()
call('HSET', bulk_key(id), 'created', NOW, 'total', 0, 'done', 0, 'failed', 0, unpack(ARGV, 5))
call('ZADD', P .. 'bulks', NOW, id)
call('ZADD', P .. 'bulks_active', NOW, id)
redis.call('ZREMRANGEBYRANK', P .. 'bulks', 0, -1 - kept)
keep_bulk(id, retention_seconds)
return 1
