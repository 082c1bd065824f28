--- include common
-- register: a worker registers itself, its queues and its task types. Types stay registered when no
-- worker is left.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  the worker's description (JSON)    3  how long it stays known in ms
--       4  its version
--       5  number of queues, then the queues, then per task type: name, description (JSON)
-- Returns  epoch

local worker, description, kept_ms, version = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
allow_writes_when_full()
local epoch = draw_epoch()
local key = P .. 'worker:' .. worker
call('HSET', key, 'info', description, 'seen', now, 'version', version, 'reads', RECORD_VERSION)
redis.call('PEXPIRE', key, kept_ms)
call('ZADD', P .. 'workers', now, worker)
local queues = tonumber(ARGV[5])
for i = 6, 5 + queues do
  call('SADD', P .. 'queues', ARGV[i])
end
for i = 6 + queues, #ARGV, 2 do
  call('HSET', P .. 'types', ARGV[i], ARGV[i + 1])
end
return epoch
