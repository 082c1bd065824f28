--- include common, counters, records, waiting, family, clock_set_back, leases, holds, versions
-- wake: puts an item into a task's inbox; the task reads it at its next attempt. If the task is parked until
-- an item comes, it is queued.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  item    3  how many items an inbox holds    4  lease in ms
-- Returns  the status after it
-- Errors   NOTFOUND <id>, NOTALLOWED <status>, INBOX <id> (it is full), UPGRADE <id>

local id, item, most, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local key, inbox = P .. 'task:' .. id, P .. 'inbox:' .. id
local r = read_task(id)
if not r then
  return redis.error_reply('NOTFOUND ' .. id)
elseif FINAL[r.s] then
  return redis.error_reply('NOTALLOWED ' .. r.s)
elseif call('LLEN', inbox) >= most then
  return redis.error_reply('INBOX ' .. id)
elseif whole(r.v) < 2 and an_old_worker_lives(lease_ms) then
  return redis.error_reply('UPGRADE ' .. id)
end
redis.call('RPUSH', inbox, item)
if not r.i then
  call('HSET', key, 'i', 1, 'v', 2)
  if r.s == 'running' then
    mark_hold(r.w, id .. ':' .. r.f)
  end
end
if r.s == 'pending' and r.wo then
  unpark(id, r)
  r.s = 'queued'
end
write_counters()
return r.s
