--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, holds, reaping, repairing, versions, actions
-- run_now: a pending task is queued before its time.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  retention in seconds
-- Returns  'queued'
-- Errors   NOTFOUND <id>, NOTALLOWED <status>

local status, problem = run_task_now(ARGV[1], ARGV[2])
write_counters()
write_ends(ARGV[2])
return status or redis.error_reply(problem)
