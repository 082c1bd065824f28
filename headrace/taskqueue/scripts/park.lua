--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, holds, versions, journals
-- park: a run gives up its lease until a later time, until an item comes into its inbox, or until either of
-- them, and leaves bytes to continue from. This is no retry, no arrival and no completion, and its start time
-- stays. The bytes take the place of the state and the journal; entries are appended. Crashes are counted from 0 again: else a run of weeks would fail at its fourth lost worker. The items
-- that it has seen leave its inbox. If it waits for an item and an unseen one is left, it is queued at once, so
-- that nothing is lost between looking and parking. While a live worker is too old to read about inboxes, it
-- parks for some seconds and looks again. Entries, which such a worker would not see, are then not kept, and
-- neither is the state beside them: the task goes on from what it went on from before.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds
--       5… per task: id, type, fence, when to go on (ms since 1970; '': at no time), run time in ms,
--          how many items of its inbox it has seen, '1': an item in its inbox wakes it, '1': the state
--          follows (else '', and the one that is there stays), how many entries, the entries
-- Returns  per task its status ('pending'; 'queued' if an item is there), or 'lost'
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local AFTERWARDS = { pending = true, queued = true, cancelled = true }
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

-- Stores what the task is to go on from.
local function keep(id, r, has_state, state, first, count)
  if has_state then
    redis.call('SET', P .. 'state:' .. id, state)
    call('HSET', P .. 'task:' .. id, 'k', 1)
    drop_journal(id, r)
  end
  if count > 0 then
    append_entries(id, r, first, count)
  end
end

local reply, a = {}, 5
while a <= #ARGV do
  local id, task_type, fence = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local due, run_ms = ARGV[a + 3], tonumber(ARGV[a + 4])
  local seen, wakes = tonumber(ARGV[a + 5]), ARGV[a + 6] == '1'
  local has_state, state, entries = ARGV[a + 7] == '1', ARGV[a + 8], tonumber(ARGV[a + 9])
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
      local too_early = is_too_early(r, entries, lease_ms)
      if not too_early then
        keep(id, r, has_state, state, a + 10, entries)
      end
      call('HSET', key, 'pk', 1)
      if r.cc then
        call('HDEL', key, 'cc', 'lf', 'lw')
      end
      count(task_type, 'parked_ms', run_ms)
      if too_early then
        status = 'pending'
        delay(id, task_type, now + LOOK_AGAIN_MS, retry)
      elseif r.i and any_unseen(id, seen) and wakes then
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
  a = a + 10 + entries
end
write_counters()
write_ends(retention_seconds)
return reply
