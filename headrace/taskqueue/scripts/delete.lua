--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, holds, reaping, repairing, versions, actions
-- delete: an ended task, and everything that is kept of it.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  retention in seconds
-- Returns  'deleted'
-- Errors   NOTFOUND <id>, NOTALLOWED <status>

allow_writes_when_full()
local status, problem = delete_task(ARGV[1], ARGV[2])
write_counters()
write_ends(ARGV[2])
return status or redis.error_reply(problem)
