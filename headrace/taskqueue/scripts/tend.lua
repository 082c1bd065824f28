--- include common, tending
-- tend: takes a fenced lease on work that one process at a time does, or renews it. See lib/tending.lua.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  name of the work    2  holder    3  lease in ms
-- Returns  the fence, or 0 while another holder has the lease; in how many ms that one ends

local name, holder, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local holds, ends, fence = tended_by(name)
allow_writes_when_full()
-- A lease that ends later than a new one would was written by a clock that ran ahead.
if ends > now + lease_ms then
  ends = now + lease_ms
  call('HSET', tend_key(name), 'until', ends)
end
if ends > now and holds ~= holder then
  return { 0, ends - now }
elseif ends <= now then
  fence = fence + 1
end
call('HSET', tend_key(name), 'holder', holder, 'until', now + lease_ms, 'fence', fence)
return { fence, 0 }
