--- include common, counters, waiting, ending, leases
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
--          be there to claim (-1: unknown), the tasks: (id, type, payload, fence, created, started,
--          retries, crashes, max_retries, kept state or '') each
-- Errors   EPOCH <new>, VERSION <found>

local worker, epoch, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local limit, request, version = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local max_crashes, retention_seconds, tend_first = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == '1'
local FIRST_QUEUE = 10
-- Cancelled tasks are skipped; a call does not skip so many that others wait for it.
local MAX_SKIPPED = 1000

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
local taken, skipped, too_new = 0, 0, nil
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

local function take(task_type, quota)
  local queue, hold = P .. 'queue:' .. task_type, request .. ':' .. task_type
  local ends = leases[task_type] or {}
  leases[task_type] = ends
  local got = 0
  while got < quota and skipped < MAX_SKIPPED and not empty[task_type] do
    local asked = quota - got
    local ids = redis.call('LPOP', queue, asked) or {}
    empty[task_type] = #ids < asked
    for n, id in ipairs(ids) do
      local key = P .. 'task:' .. id
      local r = redis.call(
        'HMGET', key, 's', 'v', 'p', 'pl', 'f', 'rc', 'cc', 'm', 'c', 'q', 'b', 'k', 'pk'
      )
      if r[1] ~= 'queued' then
        -- Cancelled while it waited, or its record is gone: a tombstone.
        skipped = skipped + 1
        count(task_type, 'tombstones', -1)
        if r[1] then
          redis.call('HDEL', key, 'z')
        end
      elseif tonumber(r[2]) > version then
        too_new, empty[task_type] = r[2], false
        for back = #ids, n, -1 do
          redis.call('LPUSH', queue, ids[back])
        end
        break
      else
        local fence = r[5] and string.format('%d', r[5] + 1) or '1'
        -- A parked run goes on: it started when it first did.
        local started = r[13] and r[11] or NOW
        redis.call('HSET', key, 's', 'running', 'f', fence, 'b', started, 'w', worker)
        if is_retry(r[6], r[7]) then
          count(task_type, 'retries_queued', -1)
        end
        measure(task_type, 'w', now - tonumber(r[10] or r[9]))
        local payload = r[4] and redis.call('GET', P .. 'payload:' .. id) or r[3]
        local state = r[12] and redis.call('GET', P .. 'state:' .. id) or ''
        local member = id .. ':' .. fence
        ends[#ends + 1], ends[#ends + 2] = lease_ends, member
        holds[#holds + 1], holds[#holds + 2] = member, hold
        got = got + 1
        tasks[taken + got] = {
          id, task_type, payload or '', tonumber(fence), tonumber(r[9]), tonumber(started),
          tonumber(r[6] or 0), tonumber(r[7] or 0), tonumber(r[8] or 3), state or '',
        }
      end
    end
    if too_new then
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
      if taken < limit and not too_new then
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
