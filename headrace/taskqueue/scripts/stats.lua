--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, holds, reaping, draining
-- stats: every queue and every worker at one moment. Costs the same at any depth. Also notes that
-- leases are looked after: whoever reads the stats proves that Redis is there.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  lease in ms    2  how soon is soon, in ms    3  retention in seconds    4… queues that stand in it even if unused
-- Returns  now, version, epoch,
--          queues: (type, length, running, delayed, due soon, oldest waiting since (0: none), retries
--            in the length, totals (name, value…), rates (minute, field, value …)×2, histogram)
--          workers: (id, info, running, seen, draining, drained, held members, what it claimed since its
--            last heartbeat: (id, type, fence, attempt, started))
--          how many things were set aside so far

local lease_ms, soon_ms, retention_seconds = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
-- The first ids of a list may be cancelled or handed back: how many are looked at for the oldest's age.
local MAX_LOOKED_AT = 100
-- The highest LEASE_SECONDS. While it is changed, some workers' leases are longer than others'.
local LONGEST_LEASE_MS = 3600000

allow_writes_when_full()
draw_epoch()
local held = leases_are_held(lease_ms)

local function oldest(task_type, due, expired)
  local since
  local function earlier(at)
    at = tonumber(at)
    if at and at <= now and (not since or at < since) then
      since = at
    end
  end
  for at = 0, MAX_LOOKED_AT - 1 do
    local id = call('LINDEX', list_key(task_type, 0), at)
    if not id then
      break
    end
    -- Whoever claims it sets aside what cannot be read.
    local r = redis.pcall('HMGET', P .. 'task:' .. id, 's', 'q', 'c', 'f')
    if r[1] == 'queued' or (at == MAX_LOOKED_AT - 1 and not since) then
      earlier(r[2] or r[3])
      -- One that was claimed before may stand at the front since a moment ago: look behind it.
      if not r[4] then
        break
      end
    end
  end
  if due > 0 then
    earlier(call('ZRANGE', P .. 'delayed:' .. task_type, 0, 0, 'WITHSCORES')[2])
    earlier(call('ZRANGE', P .. 'retries:' .. task_type, 0, 0, 'WITHSCORES')[2])
  end
  if expired > 0 then
    earlier(call('ZRANGE', P .. 'leases:' .. task_type, 0, 0, 'WITHSCORES')[2])
  end
  return since or 0
end

-- Two of a queue's counters are what they are now, and must fit its list. When that is empty nothing is
-- left to be counted, whatever was lost.
local function gauges(task_type, counts, length)
  local name, cancelled = 'counts:' .. task_type, P .. 'cancelled:' .. task_type
  local r = {}
  for i = 1, #counts, 2 do
    r[counts[i]] = counts[i + 1]
  end
  local tombstones, retries = tonumber(r.tombstones or 0), tonumber(r.retries_queued or 0)
  if not tombstones then
    set_aside(name, nil, 'tombstones')
    tombstones = call('SCARD', cancelled)
    call('HSET', P .. name, 'tombstones', tombstones)
  end
  if not retries then
    set_aside(name, nil, 'retries_queued')
    retries = 0
  end
  if length == 0 then
    if tombstones ~= 0 or retries ~= 0 then
      call('HDEL', P .. name, 'tombstones', 'retries_queued')
    end
    redis.call('DEL', cancelled) -- a worker of 0.2.0 leaves there what it skipped
  end
  tombstones = math.max(0, math.min(tombstones, length))
  return tombstones, math.max(0, math.min(retries, length - tombstones))
end

local function queue_stats(task_type)
  local delayed, retries = P .. 'delayed:' .. task_type, P .. 'retries:' .. task_type
  local leases, rates = P .. 'leases:' .. task_type, P .. 'rates:' .. task_type .. ':'
  local counts = call('HGETALL', P .. 'counts:' .. task_type)
  local length = call('LLEN', list_key(task_type, 0))
  local tombstones, retries_queued = gauges(task_type, counts, length)
  if call('ZCOUNT', leases, '(' .. now + LONGEST_LEASE_MS, '+inf') > 0 then
    name_damage('leases:' .. task_type, 'leases that end in more than an hour')
    bound_times(now, lease_ms)
  end
  local due_first = call('ZCOUNT', delayed, '-inf', now)
  local due_again = call('ZCOUNT', retries, '-inf', now)
  local expired = held and 0 or call('ZCOUNT', leases, '-inf', now)
  local later, never = '(' .. now, '(' .. NEVER
  local soon = now + soon_ms
  local minute = math.floor(now / 60000)
  return {
    task_type,
    length - tombstones + due_first + due_again + expired,
    call('ZCARD', leases) - expired,
    call('ZCOUNT', delayed, later, never) + call('ZCOUNT', retries, later, never),
    call('ZCOUNT', delayed, later, soon) + call('ZCOUNT', retries, later, soon),
    oldest(task_type, due_first + due_again, expired),
    retries_queued + due_again + expired,
    counts,
    call('HGETALL', rates .. minute),
    call('HGETALL', rates .. (minute - 1)),
    call('HGETALL', P .. 'histogram:' .. task_type),
  }
end

local queues, listed = {}, {}
local function list(task_type)
  if not listed[task_type] then
    listed[task_type] = true
    queues[#queues + 1] = queue_stats(task_type)
  end
end
for i = 4, #ARGV do
  list(ARGV[i])
end
local used = call('SMEMBERS', P .. 'queues')
table.sort(used)
for _, task_type in ipairs(used) do
  if #task_type <= 64 and string.find(task_type, '^%w[%w._-]*$') then
    list(task_type)
  else
    name_damage('queues ' .. task_type, 'is not the name of a task type')
    call('SREM', P .. 'queues', task_type)
  end
end

-- Whether nothing is held in the name of a worker that is gone. What no lease stands for is forgotten, and
-- handed back if only the lease is gone: when Redis lost its last second, two workers can hold a task by
-- the same fence, and one lease ended.
local function holds_nothing(worker)
  local key, standing = P .. 'held:' .. worker, 0
  local members = call('HGETALL', key)
  for i = 1, #members, 2 do
    local id, fence, _, task_type = entry_of(worker, members[i], members[i + 1])
    if id and call('ZSCORE', P .. 'leases:' .. task_type, members[i]) then
      standing = standing + 1
    elseif id then
      local r = give_up_lease(id, task_type, fence, worker, FINAL)
      if r and r.w == worker then
        hand_back(id, task_type, r, retention_seconds)
      end
    end
  end
  return standing == 0
end

-- What a worker holds, and in full what its last heartbeat did not name. That is looked for in the
-- heartbeat's text: compact JSON in the order of RunningTask's fields.
local function holds_of(worker, heartbeat)
  local members, claimed = {}, {}
  local held_now = call('HGETALL', P .. 'held:' .. worker)
  for i = 1, #held_now, 2 do
    local id, fence, _, task_type = entry_of(worker, held_now[i], held_now[i + 1])
    members[#members + 1] = id and held_now[i]
    local named = id and string.format('"id":"%s","type":"%s","fence":%s,', id, task_type, fence)
    local r = id and not string.find(heartbeat, named, 1, true) and read_task(id)
    if r then
      local attempt = 1 + (r.rc or 0) + (r.cc or 0)
      -- A run that parked began long ago; this part of it has just begun.
      local started = not r.pk and tonumber(r.b) or now
      claimed[#claimed + 1] = { id, task_type, tonumber(fence), attempt, started }
    end
  end
  return members, claimed
end

local workers = {}
for _, worker in ipairs(call('ZRANGE', P .. 'workers', 0, -1)) do
  local key = P .. 'worker:' .. worker
  local r = call('HMGET', key, 'info', 'running', 'seen', 'drained')
  local seen = whole(r[3])
  if r[1] and (not seen or seen - now > lease_ms) then
    if not seen then
      set_aside('worker:' .. worker, nil, 'seen')
    end
    seen = now -- else it was written by a clock that ran ahead
    call('HSET', key, 'seen', now)
  end
  -- Silent for two leases, and Redis was there: it is gone.
  local gone = not r[1] or (not held and now - seen > 2 * lease_ms)
  if gone then
    if holds_nothing(worker) then
      call('ZREM', P .. 'workers', worker)
    end
  else
    local mark = is_draining(worker) and call('GET', P .. 'drain:' .. worker)
    local members, claimed = holds_of(worker, r[2] or '')
    workers[#workers + 1] = {
      worker, r[1], r[2] or '', seen, mark and 1 or 0, mark and r[4] == mark and 1 or 0,
      members, claimed,
    }
  end
end
write_counters()
write_ends(retention_seconds)
local damaged = whole(call('HGET', KEYS[1], 'damaged')) or 0
return { now, tonumber(meta[1]), meta[2], queues, workers, damaged }
