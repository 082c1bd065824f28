--- include common
-- drain: marks a worker. A marked worker claims nothing. A mark that is not renewed ends by itself.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  how long the mark holds, in ms
-- Returns  1
-- Errors   NOWORKER <worker>

local worker, mark_ms = ARGV[1], ARGV[2]
if redis.call('EXISTS', P .. 'worker:' .. worker) == 0 then
  return redis.error_reply('NOWORKER ' .. worker)
end
allow_writes_when_full()
local mark = call('GET', P .. 'drain:' .. worker)
redis.call('SET', P .. 'drain:' .. worker, mark or (TIME[1] .. '-' .. TIME[2]), 'PX', mark_ms)
if not mark then
  call('LPUSH', P .. 'signal:' .. worker, 1)
  redis.call('EXPIRE', P .. 'signal:' .. worker, 60)
end
return 1
