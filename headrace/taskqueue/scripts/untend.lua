--- include common, tending
-- untend: gives up a fenced lease, so that another process can take it at once. See lib/tending.lua.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  name of the work    2  holder    3  fence
-- Returns  1
-- Errors   FENCED <name>

local name, holder, fence = ARGV[1], ARGV[2], ARGV[3]
if not is_tended_by(name, holder, fence) then
  return redis.error_reply('FENCED ' .. name)
end
allow_writes_when_full()
call('HSET', tend_key(name), 'until', 0)
return 1
