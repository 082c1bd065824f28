--- include common, counters, histograms, records, waiting, family, ending, attempts, clock_set_back, leases
-- finish: attempts end with a result, or cancelled. Only the holder of the lease may; the same call
-- twice is a success.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  retention in seconds
--       5… per task: id, type, fence, 'completed' or 'cancelled', run time in ms, result
-- Returns  per task its status, or 'lost'
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, retention_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end

local NOTHING = {}

-- What the end of an attempt has to know of its task's record. Most are first attempts, of which nothing has
-- to be looked up.
local function record_of(key, fence, hold)
  if not is_marked(hold) then
    return NOTHING
  elseif fence == '1' then
    local found = call('HMGET', key, 'pl', 'k', 'j', 'i', 'x', 'pa', 'ch')
    return {
      pl = found[1], k = found[2], j = found[3], i = found[4], x = found[5], pa = found[6], ch = found[7],
    }
  end
  local found = call('HMGET', key, 'pl', 'k', 'j', 'i', 'x', 'pa', 'ch', 'er', 'at', 'rc', 'cc', 'b')
  return {
    pl = found[1], k = found[2], j = found[3], i = found[4], x = found[5], pa = found[6], ch = found[7],
    er = found[8], at = found[9], rc = found[10], cc = found[11], b = found[12],
  }
end

-- Ends an attempt that is held. Returns its status; 'lost' when there is no record to write it into.
local function finish(id, task_type, fence, hold, status, run_ms, result)
  local key = P .. 'task:' .. id
  local r = record_of(key, fence, hold)
  if r.x then
    status = 'cancelled'
  end
  if status == 'cancelled' or r ~= NOTHING and failed_before(r) then
    if r == NOTHING then
      r = {}
    end
    r.w, r.b = worker, r.b or call('HGET', key, 'b')
    note_attempt(id, r, status, retention_seconds)
  end
  local field, kept = 'r', result
  if #result > INLINE_BYTES then
    field, kept = 'rl', '1'
  end
  local stored
  if result == '' then
    stored = end_task(id, task_type, status, r, retention_seconds)
  else
    stored = end_task(id, task_type, status, r, retention_seconds, field, kept)
  end
  if not stored then
    read_task(id, 'the leases of ' .. task_type)
    return 'lost'
  end
  if field == 'rl' then
    redis.call('SET', P .. 'result:' .. id, result, 'EX', retention_seconds)
  end
  if status == 'completed' then
    if r.er then
      redis.call('HDEL', key, 'er')
    end
    count(task_type, 'completions', 1)
  else
    count(task_type, 'stopped', 1)
  end
  count(task_type, 'service_ms', run_ms)
  measure(task_type, run_ms)
  return status
end

local held, reply = give_up_leases(worker, 6), {}
for a = 5, #ARGV, 6 do
  local id, task_type, fence, status = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local member = id .. ':' .. fence
  local hold = held[member]
  held[member] = nil -- once, if the call names it twice
  local r = not hold and read_task(id)
  if hold or is_run_by(r, fence) then
    status = finish(id, task_type, fence, hold or '!', status, tonumber(ARGV[a + 4]), ARGV[a + 5])
  else
    status = what_became(r, fence, FINAL)
  end
  reply[#reply + 1] = status
end
write_counters()
write_histograms('r')
write_ends(retention_seconds)
return reply
