--- include common, counters, leases
-- stats: every queue and every worker at one moment. Costs the same at any depth. Also notes that
-- leases are looked after: whoever reads the stats proves that Redis is there.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  lease in ms    2  how soon is soon, in ms    3… queues that stand in it even if unused
-- Returns  now, version, epoch,
--          queues: (type, length, running, delayed, due soon, oldest waiting since (0: none), retries
--            in the length, totals (name, value…), rates (minute, field, value …)×2, histogram)
--          workers: (id, info, running, seen, draining, drained, held members, what it claimed since its
--            last heartbeat: (id, type, fence, attempt, started))

local lease_ms, soon_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
-- The head of a list may be cancelled or handed back; so many are looked at for the oldest's age.
local MAX_LOOKED_AT = 100

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
    local id = redis.call('LINDEX', P .. 'queue:' .. task_type, at)
    if not id then
      break
    end
    local r = redis.call('HMGET', P .. 'task:' .. id, 's', 'q', 'c', 'f')
    if r[1] == 'queued' or (at == MAX_LOOKED_AT - 1 and not since) then
      earlier(r[2] or r[3])
      -- One that was claimed before may stand at the front since a moment ago: look behind it.
      if not r[4] then
        break
      end
    end
  end
  if due > 0 then
    earlier(redis.call('ZRANGE', P .. 'delayed:' .. task_type, 0, 0, 'WITHSCORES')[2])
    earlier(redis.call('ZRANGE', P .. 'retries:' .. task_type, 0, 0, 'WITHSCORES')[2])
  end
  if expired > 0 then
    earlier(redis.call('ZRANGE', P .. 'leases:' .. task_type, 0, 0, 'WITHSCORES')[2])
  end
  return since or 0
end

local function queue_stats(task_type)
  local delayed, retries = P .. 'delayed:' .. task_type, P .. 'retries:' .. task_type
  local leases, rates = P .. 'leases:' .. task_type, P .. 'rates:' .. task_type .. ':'
  local counts = redis.call('HGETALL', P .. 'counts:' .. task_type)
  local tombstones, retries_queued = 0, 0
  for i = 1, #counts, 2 do
    if counts[i] == 'tombstones' then
      tombstones = tonumber(counts[i + 1])
    elseif counts[i] == 'retries_queued' then
      retries_queued = tonumber(counts[i + 1])
    end
  end
  local due_first = redis.call('ZCOUNT', delayed, '-inf', now)
  local due_again = redis.call('ZCOUNT', retries, '-inf', now)
  local expired = held and 0 or redis.call('ZCOUNT', leases, '-inf', now)
  local later = '(' .. now
  local soon = now + soon_ms
  local minute = math.floor(now / 60000)
  return {
    task_type,
    redis.call('LLEN', P .. 'queue:' .. task_type) - tombstones + due_first + due_again + expired,
    redis.call('ZCARD', leases) - expired,
    redis.call('ZCARD', delayed) + redis.call('ZCARD', retries) - due_first - due_again,
    redis.call('ZCOUNT', delayed, later, soon) + redis.call('ZCOUNT', retries, later, soon),
    oldest(task_type, due_first + due_again, expired),
    retries_queued + due_again + expired,
    counts,
    redis.call('HGETALL', rates .. minute),
    redis.call('HGETALL', rates .. (minute - 1)),
    redis.call('HGETALL', P .. 'histogram:' .. task_type),
  }
end

local queues, listed = {}, {}
local function list(task_type)
  if not listed[task_type] then
    listed[task_type] = true
    queues[#queues + 1] = queue_stats(task_type)
  end
end
for i = 3, #ARGV do
  list(ARGV[i])
end
local used = redis.call('SMEMBERS', P .. 'queues')
table.sort(used)
for _, task_type in ipairs(used) do
  list(task_type)
end

-- Whether nothing is held in the name of a worker that is gone. What no lease stands for is forgotten:
-- when Redis lost its last second, two workers can hold a task by the same fence, and one lease ended.
local function holds_nothing(worker)
  local key, standing = P .. 'held:' .. worker, 0
  local members = redis.call('HGETALL', key)
  for i = 1, #members, 2 do
    local _, task_type = parts_of(members[i + 1])
    if redis.call('ZSCORE', P .. 'leases:' .. task_type, members[i]) then
      standing = standing + 1
    else
      redis.call('HDEL', key, members[i])
    end
  end
  return standing == 0
end

-- What a worker holds, and in full what its last heartbeat did not name. That is looked for in the
-- heartbeat's text: compact JSON in the order of RunningTask's fields.
local function holds_of(worker, heartbeat)
  local members, claimed = {}, {}
  local held_now = redis.call('HGETALL', P .. 'held:' .. worker)
  for i = 1, #held_now, 2 do
    local id, fence = string.match(held_now[i], '^(.*):(%d+)$')
    local _, task_type = parts_of(held_now[i + 1])
    members[#members + 1] = held_now[i]
    local named = string.format('"id":"%s","type":"%s","fence":%s,', id, task_type, fence)
    if not string.find(heartbeat, named, 1, true) then
      local r = redis.call('HMGET', P .. 'task:' .. id, 'b', 'rc', 'cc', 'pk')
      local attempt = 1 + (tonumber(r[2]) or 0) + (tonumber(r[3]) or 0)
      -- A run that parked began long ago; this part of it has just begun.
      local started = not r[4] and tonumber(r[1]) or now
      claimed[#claimed + 1] = { id, task_type, tonumber(fence), attempt, started }
    end
  end
  return members, claimed
end

local workers = {}
for _, worker in ipairs(redis.call('ZRANGE', P .. 'workers', 0, -1)) do
  local r = redis.call('HMGET', P .. 'worker:' .. worker, 'info', 'running', 'seen', 'drained')
  -- Silent for two leases, and not for want of Redis: it is gone.
  local gone = not r[1] or (not held and now - tonumber(r[3]) > 2 * lease_ms)
  if gone then
    if holds_nothing(worker) then
      redis.call('ZREM', P .. 'workers', worker)
    end
  else
    local mark = redis.call('GET', P .. 'drain:' .. worker)
    local members, claimed = holds_of(worker, r[2] or '')
    workers[#workers + 1] = {
      worker, r[1], r[2] or '', tonumber(r[3]), mark and 1 or 0, mark and r[4] == mark and 1 or 0,
      members, claimed,
    }
  end
end
return { now, tonumber(meta[1]), meta[2], queues, workers }
