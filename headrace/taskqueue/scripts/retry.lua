--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, holds, reaping, repairing, versions, actions
-- retry: a failed or cancelled task is queued again, its retries counted from 0.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  the queue's maximum length    3  retention in seconds    4  lease in ms
-- Returns  'queued'
-- Errors   NOTFOUND <id>, NOTALLOWED <status>, FULL <type>, UPGRADE <id>

local status, problem = retry_task(ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4])
write_counters()
write_ends(ARGV[3])
return status or redis.error_reply(problem)
