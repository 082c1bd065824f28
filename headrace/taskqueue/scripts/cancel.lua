--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, holds, reaping, repairing, versions, actions, stopping
-- cancel: cancels a task that has not begun; asks a running task to stop, if the caller wants that.
-- Its children are cancelled, too.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  '1': also a running one    3  retention in seconds
-- Returns  the status before; 'cancelled' after it for 'pending' and 'queued', asked to stop for
--          'running'
-- Errors   NOTFOUND <id>, NOTALLOWED <status>

allow_writes_when_full()
local status, problem = cancel_task(ARGV[1], ARGV[2] == '1', ARGV[3])
stop_children(ARGV[3])
write_counters()
write_ends(ARGV[3])
return status or redis.error_reply(problem)
