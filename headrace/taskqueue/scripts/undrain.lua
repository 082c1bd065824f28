--- include common
-- undrain: removes a worker's drain mark; the worker claims again.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker
-- Returns  1
-- Errors   NOWORKER <worker>

local worker = ARGV[1]
if redis.call('EXISTS', P .. 'worker:' .. worker) == 0 then
  return redis.error_reply('NOWORKER ' .. worker)
end
allow_writes_when_full()
redis.call('DEL', P .. 'drain:' .. worker)
call('HSET', P .. 'worker:' .. worker, 'drained', '')
call('LPUSH', P .. 'signal:' .. worker, 1)
redis.call('EXPIRE', P .. 'signal:' .. worker, 60)
return 1
