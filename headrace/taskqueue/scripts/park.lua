--- include common, counters, records, waiting, ending, attempts, clock, leases, holds, versions
-- park: a run gives up its lease until a later time, until an item comes into its inbox, or until either of
-- them, and leaves bytes to continue from. This is no retry, no arrival and no completion, and its start time
-- stays. Crashes are counted from 0 again: else a run of weeks would fail at its fourth lost worker. The items
-- that it has seen leave its inbox. If it waits for an item and an unseen one is left, it is queued at once, so
-- that nothing is lost between looking and parking. While a live worker is too old to read about inboxes, it
-- parks for some seconds and looks again.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds
--       5… per task: id, type, fence, when to go on (ms since 1970; '': at no time), state, run time in ms,
--          how many items of its inbox it has seen, '1': an item in its inbox wakes it
-- Returns  per task its status ('pending'; 'queued' if an item is there), or 'lost'
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local AFTERWARDS = { pending = true, queued = true, cancelled = true }
local STRIDE = 8
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end

local LOOK_AGAIN_MS = 5000

-- Takes the items that were seen out of an inbox; returns whether any is left.
local function any_unseen(id, seen)
  local inbox = P .. 'inbox:' .. id
  local count = call('LLEN', inbox)
  if seen > 0 then
    redis.call('LTRIM', inbox, seen, -1)
  end
  return count > seen
end

local reply = {}
for a = 5, #ARGV, STRIDE do
  local id, task_type, fence = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local due, state, run_ms = ARGV[a + 3], ARGV[a + 4], tonumber(ARGV[a + 5])
  local seen, wakes = tonumber(ARGV[a + 6]), ARGV[a + 7] == '1'
  local r, status = give_up_lease(id, task_type, fence, worker, AFTERWARDS)
  if r then
    local key, retry = P .. 'task:' .. id, is_retry(r.rc, 0)
    if r.x then
      status = 'cancelled'
      note_attempt(id, r, status, retention_seconds)
      end_task(id, task_type, status, r, retention_seconds)
      count(task_type, 'stopped', 1)
      count(task_type, 'service_ms', run_ms)
    else
      redis.call('SET', P .. 'state:' .. id, state)
      call('HSET', key, 'k', 1, 'pk', 1)
      if r.cc then
        call('HDEL', key, 'cc', 'lf', 'lw')
      end
      count(task_type, 'parked_ms', run_ms)
      if r.i and any_unseen(id, seen) and wakes then
        status = 'queued'
        enqueue(id, task_type, retry, false)
        wake(task_type)
      elseif wakes and an_old_worker_lives(lease_ms) then
        status = 'pending'
        delay(id, task_type, math.min(tonumber(due) or now + LOOK_AGAIN_MS, now + LOOK_AGAIN_MS), retry)
      elseif wakes then
        status = 'pending'
        delay(id, task_type, due == '' and NEVER or due, retry, 'wo', 1, 'v', 2)
      else
        status = 'pending'
        delay(id, task_type, due, retry)
      end
    end
  end
  reply[#reply + 1] = status
end
write_counters()
write_ends(retention_seconds)
return reply
