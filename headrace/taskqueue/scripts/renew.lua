--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, holds, reaping, repairing, damage, versions, actions, stopping
-- renew: a worker's heartbeat. It renews the leases that it lists, and learns which it has lost and which
-- tasks have to stop. It gives back tasks that it does not know of: those of a claim whose reply never came.
-- Marked as draining, with nothing held and no slot busy, it is acknowledged as drained.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds
--       5  how long the worker stays known in ms    6  all its claims up to this request have ended
--       7  busy slots (threads past their time-out count)    8  what it runs (JSON)
--       9… per task held: id, type, fence
-- Returns  draining, drained, the members (id:fence) lost, the members to be cancelled, and what was set
--          aside and not logged yet: (what, why) each
-- Errors   EPOCH <new>, NOWORKER <worker> (it is not registered)

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local kept_ms, settled, busy, running = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local key, held_key = P .. 'worker:' .. worker, P .. 'held:' .. worker
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end
if call('HEXISTS', key, 'info') == 0 then
  return redis.error_reply('NOWORKER ' .. worker)
end

local listed, lost, cancelled, kept = {}, {}, {}, {}
for a = 9, #ARGV, 3 do
  local id, task_type, fence = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local member = id .. ':' .. fence
  local leases = P .. 'leases:' .. task_type
  listed[member] = true
  if call('ZSCORE', leases, member) or is_run_by(read_task(id), fence) then
    call('ZADD', leases, now + lease_ms, member)
    if call('HEXISTS', P .. 'task:' .. id, 'x') == 1 then
      cancelled[#cancelled + 1] = member
    end
  else
    lost[#lost + 1] = member
    call('HDEL', held_key, member)
  end
end
local held = call('HGETALL', held_key)
for i = 1, #held, 2 do
  local id, fence, request, task_type = entry_of(worker, held[i], held[i + 1])
  if id and not listed[held[i]] and request <= settled then
    local r = give_up_lease(id, task_type, fence, worker, FINAL)
    if r then
      hand_back(id, task_type, r, retention_seconds)
    end
  end
end

stop_children(retention_seconds)
call('LLEN', P .. 'signal:' .. worker) -- waited for by this worker, and to be a list
local mark = call('GET', P .. 'drain:' .. worker)
local drained = mark and busy == 0 and redis.call('EXISTS', held_key) == 0
call('HSET', key, 'seen', now, 'running', running, 'drained', drained and mark or '')
redis.call('PEXPIRE', key, kept_ms)
redis.call('PEXPIRE', held_key, kept_ms)
call('ZADD', P .. 'workers', now, worker)
write_counters()
write_ends(retention_seconds)
return { mark and 1 or 0, drained and 1 or 0, lost, cancelled, damage_to_be_logged() }
