--- include common, counters, histograms, waiting, ending, leases, reaping
-- claim: a worker takes waiting tasks, and with them a lease on each.
-- First the queues are tended: due delayed tasks enter their lists, expired leases are taken back. For
-- a busy worker that is half the price, so it asks for it now and then only; and it is done in any case
-- before a claim brings less than was asked for.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  how many at most (≤ 1000)
--       5  request: the number of this claim, growing per worker
--       6  the newest record version that the worker reads
--       7  how many crashes fail a task    8  retention in seconds
--       9  '1': tend the queues first
--       10… the queues, in the order in which they are served
-- Returns  more (1: ask again at once), draining (1: the worker is marked), ms until something may
--          be there to claim (-1: unknown), the tasks: (id, type, payload, created, started,
--          max_retries) each, and (fence, retries, crashes, kept state or '') of one that was held
--          before
-- Errors   EPOCH <new>, VERSION <found>

local worker, epoch, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local limit, request, version = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local max_crashes, retention_seconds, tend_first = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == '1'
local FIRST_QUEUE = 10
-- Cancelled tasks are skipped; a call does not skip so many that others wait for it.
local MAX_SKIPPED = 1000
-- A claim takes so many bytes of payload and state and the task that goes beyond: more may outlast the
-- worker's time-out.
local ENOUGH_BYTES = 4194304

if not same_epoch(epoch) then
  return epoch_error()
end
allow_writes_when_full()
local held, grace = leases_are_held(lease_ms)
local draining = redis.call('EXISTS', P .. 'drain:' .. worker)

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
  for i = FIRST_QUEUE, #ARGV do
    earliest(promote(ARGV[i]))
    if held then
      earliest(grace)
    else
      earliest(reap(ARGV[i], max_crashes, retention_seconds))
    end
  end
  empty = {}
end

-- Puts ids back that were taken off a list, from one on.
local function put_back(task_type, ids, first)
  for n = #ids, first, -1 do
    redis.call('LPUSH', P .. 'queue:' .. task_type, ids[n])
  end
  empty[task_type] = false
end

local function take(task_type, quota)
  local queue = P .. 'queue:' .. task_type
  local plain_hold, marked_hold = hold_of(request, task_type, false), hold_of(request, task_type, true)
  local ends = leases[task_type] or {}
  leases[task_type] = ends
  local got = 0
  while got < quota and skipped < MAX_SKIPPED and not empty[task_type] do
    local asked = quota - got
    local ids = redis.call('LPOP', queue, asked) or {}
    empty[task_type] = #ids < asked
    for n, id in ipairs(ids) do
      local key = P .. 'task:' .. id
      -- Only what every task may have: Redis looks through the record for each field anew.
      local r = redis.call('HMGET', key, 's', 'v', 'p', 'f', 'c', 'm', 'q')
      if r[1] ~= 'queued' then
        -- Cancelled while it waited, or its record is gone: a tombstone.
        skipped = skipped + 1
        count(task_type, 'tombstones', -1)
        if r[1] then
          redis.call('HDEL', key, 'z')
        end
      elseif tonumber(r[2]) > version then
        too_new = r[2]
        put_back(task_type, ids, n)
        break
      else
        local payload, held_before, created, max_retries = r[3], r[4], tonumber(r[5]), tonumber(r[6] or 3)
        payload = payload or redis.call('GET', P .. 'payload:' .. id) or ''
        measure(task_type, now - (tonumber(r[7]) or created))
        local fence, started, task = '1', NOW, nil
        if held_before then
          local h = redis.call('HMGET', key, 'rc', 'cc', 'b', 'k', 'pk')
          fence = string.format('%d', held_before + 1)
          -- A parked run goes on: it started when it first did.
          started = h[5] and h[3] or NOW
          if is_retry(h[1], h[2]) then
            count(task_type, 'retries_queued', -1)
          end
          local state = h[4] and redis.call('GET', P .. 'state:' .. id) or ''
          task = {
            id, task_type, payload, created, tonumber(started), max_retries,
            tonumber(fence), tonumber(h[1] or 0), tonumber(h[2] or 0), state,
          }
        else
          task = { id, task_type, payload, created, now, max_retries }
        end
        redis.call('HSET', key, 's', 'running', 'f', fence, 'b', started, 'w', worker)
        local member, h = id .. ':' .. fence, #holds
        ends[#ends + 1], ends[#ends + 2] = lease_ends, member
        holds[h + 1], holds[h + 2] = member, (held_before or not r[3]) and marked_hold or plain_hold
        got = got + 1
        tasks[taken + got] = task
        bytes = bytes + #payload + #(task[10] or '')
        if bytes >= ENOUGH_BYTES then
          put_back(task_type, ids, n + 1)
          break
        end
      end
    end
    if too_new or bytes >= ENOUGH_BYTES then
      break
    end
  end
  taken = taken + got
end

-- A fair share of each queue first, then whatever is there.
local function take_from_all()
  local share = math.ceil(limit / (#ARGV - FIRST_QUEUE + 1))
  for _, quota in ipairs({ share, limit }) do
    for i = FIRST_QUEUE, #ARGV do
      if taken < limit and bytes < ENOUGH_BYTES and not too_new then
        take(ARGV[i], math.min(quota, limit - taken))
      end
    end
  end
end

if draining == 1 then
  limit = 0
end
if not tend_first then
  take_from_all()
end
if tend_first or taken < limit then
  tend()
  take_from_all()
end
if #holds > 0 then
  redis.call('HSET', P .. 'held:' .. worker, unpack(holds))
  for task_type, ends in pairs(leases) do
    if #ends > 0 then
      redis.call('ZADD', P .. 'leases:' .. task_type, unpack(ends))
    end
  end
end
write_counters()
write_histograms('w')
if too_new and taken == 0 then
  return redis.error_reply('VERSION ' .. too_new)
end

-- Somebody else is to come for what is left: the wake-up chain.
local more = 0
for i = FIRST_QUEUE, #ARGV do
  if not empty[ARGV[i]] and redis.call('LLEN', P .. 'queue:' .. ARGV[i]) > 0 then
    more = 1
    wake(ARGV[i])
  end
end
return { more, draining, next_at and math.max(next_at - now, 0) or -1, tasks }
