--- include common, counters, histograms, records, waiting, promoting, family, ending, attempts, clock_set_back, leases, reaping, draining
-- claim: a worker takes waiting tasks, and gets a lease on each.
-- First the queues are tended: due delayed tasks enter their lists, expired leases are taken back. For
-- a busy worker that is half the price, so it asks for it now and then only; and it is done in any case
-- before a claim brings less than was asked for.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  how many at most (≤ 1000)
--       5  request: the number of this claim, growing per worker
--       6  how many crashes fail a task    7  retention in seconds
--       8  '1': tend the queues first
--       9  ahead: how many at most beyond that, of some queues only (both together ≤ 1000)
--       10 n, then n queues in the order in which they are served; then the queues that are claimed
--          ahead from: they are among the n
-- Returns  more (1: ask again at once), draining (1: the worker is marked), ms until something may
--          be there to claim (-1: unknown), the tasks: (id, type, payload, created, started,
--          max_retries) each, then (fence, retries, crashes, kept state or '') of one that was held
--          before or has options, the options or '', the items
--          of its inbox, the entries of its journal, how
--          often it was retried by hand, 1 if it has had children
-- Errors   EPOCH <new>, VERSION <found> <supported>

local worker, epoch, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local limit, request = tonumber(ARGV[4]), ARGV[5]
local max_crashes, retention_seconds, tend_first = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
local ahead = tonumber(ARGV[9])
local FIRST_QUEUE, LAST_QUEUE = 11, 10 + tonumber(ARGV[10])
-- Cancelled tasks are skipped; a call does not skip so many that others wait for it.
local MAX_SKIPPED = 1000
-- A claim takes so many bytes of payload and state and the task that goes beyond: more may outlast the
-- worker's time-out.
local enough_bytes = 4194304
-- The same for what is claimed ahead: it may have to go back.
local AHEAD_BYTES = 65536

if not same_epoch(epoch) then
  return epoch_error()
end
allow_writes_when_full()
local held, grace = leases_are_held(lease_ms)
local draining = is_draining(worker)

local next_at
local function earliest(at)
  if at and (not next_at or at < next_at) then
    next_at = at
  end
end

local lease_ends = string.format('%.0f', now + lease_ms)
local tasks, holds, leases = {}, {}, {}
local taken, skipped, too_new, bytes = 0, 0, nil, 0
-- Queues whose list was found empty.
local empty = {}

local function tend()
  for i = FIRST_QUEUE, LAST_QUEUE do
    earliest(promote(ARGV[i]))
    if held then
      earliest(grace)
    else
      earliest(reap(ARGV[i], max_crashes, retention_seconds))
    end
  end
  empty = {}
end

-- Puts ids back that were taken off a list, from this index on.
local function put_back(task_type, ids, first)
  for n = #ids, first, -1 do
    call('LPUSH', list_key(task_type, 0), ids[n])
  end
  empty[task_type] = false
end

-- An id in a list that is not to be claimed from there.
local function pass_over(id, task_type, flaw)
  skipped = skipped + 1
  local cancelled = P .. 'cancelled:' .. task_type
  local is_tombstone = call('SREM', cancelled, id) == 1
  local r = read_task(id, nil, flaw)
  local is_moved = moved and moved['task:' .. id]
  if not (is_tombstone or r and r.z or is_moved) then
    -- Was it cancelled by a version that kept no such list, and has expired since? Or does it stand here more
    -- than once, because it was put off (see edit.lua)?
    local skipped_here = counted[task_type] and counted[task_type].tombstones or 0
    local tombstones = whole(call('HGET', P .. 'counts:' .. task_type, 'tombstones')) or 0
    is_tombstone = tombstones + skipped_here > call('SCARD', cancelled)
  end
  if is_tombstone or r and r.z then
    count(task_type, 'tombstones', -1)
    call('HDEL', P .. 'task:' .. id, 'z')
  elseif r then
    name_damage('task:' .. id, 'it stood in the list of ' .. task_type .. ', and is ' .. r.s)
  else
    read_task(id, 'the list of ' .. task_type)
  end
end

-- A record whose version is written as '1' has no options, no inbox and no journal. Returns whether its end
-- has to look for an inbox or a parent; or nil, and why it cannot be taken.
local function add_options(task, key)
  if not task[7] then
    task[7], task[8], task[9], task[10] = 1, 0, 0, ''
  end
  local r = call('HMGET', key, 'o', 'i', 'j', 'pa', 'g', 'ch')
  task[11] = r[1] or ''
  task[12] = r[2] and call('LRANGE', P .. 'inbox:' .. task[1], 0, -1) or {}
  task[13] = r[3] and call('LRANGE', P .. 'journal:' .. task[1], 0, -1) or {}
  for _, list in ipairs({ task[12], task[13] }) do
    for _, item in ipairs(list) do
      bytes = bytes + #item
    end
  end
  if r[3] and #task[13] ~= whole(r[3]) then
    return nil, 'its journal is gone'
  end
  task[14] = whole(r[5] or 0) or 0
  task[15] = r[6] and 1 or 0
  return r[2] or r[4]
end

-- Marks a task as taken. Returns what the worker is given of it, its hold, and whether its end is to look
-- into the record; or nil, and why it cannot be taken if it is queued; or HELD_BEFORE, if that is not wanted.
local HELD_BEFORE = {}
local function open(id, task_type, is_ahead)
  local key = P .. 'task:' .. id
  -- Only what every task may have: Redis looks through the record for each field again.
  local r = redis.pcall('HMGET', key, 's', 'v', 't', 'p', 'c', 'f', 'm', 'q')
  if r[1] ~= 'queued' then
    return nil
  elseif r[2] ~= '1' and (whole(r[2]) or 0) > RECORD_VERSION then
    too_new = r[2]
    return nil
  elseif r[3] ~= task_type then
    return nil, 'it is of another type, and stood in the list of ' .. task_type
  end
  local payload, held_before, created = r[4], r[6], whole(r[5])
  if is_ahead and held_before then
    return HELD_BEFORE
  end
  local max_retries, since = 3, created
  if r[7] then
    max_retries = whole(r[7])
  end
  if r[8] then
    since = whole(r[8])
  end
  payload = payload or redis.pcall('GET', P .. 'payload:' .. id)
  if type(payload) ~= 'string' then
    return nil, 'its payload is gone'
  elseif not (created and max_retries and since and (r[2] == '1' or whole(r[2]))) then
    return nil, 'a number in it cannot be read'
  end
  local fence, started, task = '1', NOW, nil
  if held_before then
    local h = call('HMGET', key, 'rc', 'cc', 'b', 'k', 'pk')
    -- A parked run goes on: it started when it first did.
    started = h[5] and h[3] or NOW
    local state = ''
    if h[4] then
      state = redis.pcall('GET', P .. 'state:' .. id)
    end
    local retries, crashes = whole(h[1] or 0), whole(h[2] or 0)
    if not (whole(held_before) and whole(started) and retries and crashes) then
      return nil, 'a number in it cannot be read'
    elseif type(state) ~= 'string' then
      return nil, 'what it kept to go on from is gone'
    end
    fence = string.format('%d', held_before + 1)
    if retries + crashes > 0 then
      count(task_type, 'retries_queued', -1)
    end
    task = {
      id, task_type, payload, created, tonumber(started), max_retries,
      tonumber(fence), retries, crashes, state,
    }
  else
    task = { id, task_type, payload, created, now, max_retries }
  end
  local is_linked, flaw = false, nil
  if r[2] ~= '1' then
    is_linked, flaw = add_options(task, key)
    if flaw then
      return nil, flaw
    end
  end
  measure(task_type, math.max(0, now - since))
  redis.call('HSET', key, 's', 'running', 'f', fence, 'b', started, 'w', worker)
  return task, id .. ':' .. fence, held_before or not r[4] or is_linked
end

local function take(task_type, quota, is_ahead)
  local queue = list_key(task_type, 0)
  local plain_hold, marked_hold = hold_of(request, task_type, false), hold_of(request, task_type, true)
  local ends = leases[task_type] or {}
  leases[task_type] = ends
  local got = 0
  while got < quota and skipped < MAX_SKIPPED and not empty[task_type] do
    local asked = quota - got
    local ids = call('LPOP', queue, asked) or {}
    empty[task_type] = #ids < asked
    for n, id in ipairs(ids) do
      local task, member, is_special = open(id, task_type, is_ahead)
      if task == HELD_BEFORE then
        put_back(task_type, ids, n)
        taken = taken + got
        return
      elseif task then
        ends[#ends + 1], ends[#ends + 2] = lease_ends, member
        local h = #holds
        holds[h + 1], holds[h + 2] = member, is_special and marked_hold or plain_hold
        got = got + 1
        tasks[taken + got] = task
        bytes = bytes + #task[3] + #(task[10] or '') + #(task[11] or '')
        if bytes >= enough_bytes then
          put_back(task_type, ids, n + 1)
          break
        end
      elseif too_new then
        put_back(task_type, ids, n)
        break
      else
        pass_over(id, task_type, member)
      end
    end
    if too_new or bytes >= enough_bytes then
      break
    end
  end
  taken = taken + got
end

-- First a fair share of each queue, then what is left, until enough are taken.
local function take_from(first, last, up_to, is_ahead)
  local share = math.ceil((up_to - taken) / (last - first + 1))
  for _, quota in ipairs({ share, up_to }) do
    for i = first, last do
      if taken < up_to and bytes < enough_bytes and not too_new then
        take(ARGV[i], math.min(quota, up_to - taken), is_ahead)
      end
    end
  end
end

local function take_from_all()
  take_from(FIRST_QUEUE, LAST_QUEUE, limit, false)
end

if draining then
  limit, ahead = 0, 0
end
if not tend_first then
  take_from_all()
end
if tend_first or taken < limit then
  tend()
  take_from_all()
end
if ahead > 0 and taken == limit then
  enough_bytes = math.min(enough_bytes, bytes + AHEAD_BYTES)
  take_from(LAST_QUEUE + 1, #ARGV, limit + ahead, true)
end
if #holds > 0 then
  call('HSET', P .. 'held:' .. worker, unpack(holds))
  for task_type, ends in pairs(leases) do
    if #ends > 0 then
      call('ZADD', P .. 'leases:' .. task_type, unpack(ends))
    end
  end
end
write_counters()
write_histograms('w')
write_ends(retention_seconds)
if too_new and taken == 0 then
  return redis.error_reply('VERSION ' .. too_new .. ' ' .. RECORD_VERSION)
end

-- Another worker has to come for the rest: the wake-up chain.
local more = 0
for i = FIRST_QUEUE, LAST_QUEUE do
  if not empty[ARGV[i]] and call('LLEN', list_key(ARGV[i], 0)) > 0 then
    more = 1
    wake(ARGV[i])
  end
end
return { more, draining and 1 or 0, next_at and math.max(next_at - now, 0) or -1, tasks }
