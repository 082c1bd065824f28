--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, holds, reaping, repairing, tending, versions, actions, bulks
-- bulk_step: does the action of a bulk operation for its next matches, each once, and counts what became of it.
-- Nothing happens while it is stopped, or its matches are not all found.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  name of the work    2  holder    3  fence    4  id    5  retention in seconds    6  for how many
--       7  the queues' maximum length    8  lease in ms    9  how many failures are kept
-- Returns  how many it was done for
-- Errors   FENCED <name>; counted, and not replied: NOTFOUND, NOTALLOWED, FULL, UPGRADE

local name, holder, fence, id, retention_seconds = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local max_length, lease_ms, most_failures = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if not is_tended_by(name, holder, fence) then
  return redis.error_reply('FENCED ' .. name)
end
local key = bulk_key(id)
local action, running_too, stopped, place, ended =
  unpack(call('HMGET', key, 'action', 'running', 'stopped', 'place', 'ended'))
if not action or stopped or place or ended then
  return 0
end

local function act(task_id)
  if action == 'retry' then
    return retry_task(task_id, max_length, retention_seconds, lease_ms)
  elseif action == 'cancel' then
    return cancel_task(task_id, running_too == '1', retention_seconds)
  elseif action == 'delete' then
    return delete_task(task_id, retention_seconds)
  end
  return run_task_now(task_id, retention_seconds)
end

allow_writes_when_full()
local ids = call('LPOP', bulk_ids_key(id), ARGV[6]) or {}
local done, failures, reasons = 0, {}, {}
for _, task_id in ipairs(ids) do
  local status, problem = act(task_id)
  if status then
    done = done + 1
  else
    local reason = string.match(problem, '^%u+')
    reasons[reason] = (reasons[reason] or 0) + 1
    failures[#failures + 1] = reason .. ' ' .. task_id
  end
end
call('HINCRBY', key, 'done', done)
if #failures > 0 then
  call('HINCRBY', key, 'failed', #failures)
  for reason, number in pairs(reasons) do
    call('HINCRBY', key, 'failed:' .. reason, number)
  end
  call('RPUSH', bulk_failures_key(id), unpack(failures))
  redis.call('LTRIM', bulk_failures_key(id), 0, most_failures - 1)
end
if call('LLEN', bulk_ids_key(id)) == 0 then
  end_bulk(id)
end
keep_bulk(id, retention_seconds)
write_counters()
write_ends(retention_seconds)
return #ids
