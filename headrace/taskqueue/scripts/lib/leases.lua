-- Leases: who holds which task until when. Needs counters.lua, waiting.lua, ending.lua.
--
-- leases:<type> is the only index of what runs: member 'id:fence', score the end of the lease.
-- held:<worker> says the same by worker: 'id:fence' → 'request:type'.

-- Notes that leases are looked after, and returns whether they are all held for now. When nobody did
-- so for half a lease, Redis was away or nobody was there: workers get one whole lease to come back
-- before anything is taken from them. (Renewals come every third of a lease.)
local function leases_are_held(lease_ms)
  local seen, grace = tonumber(meta[3]), tonumber(meta[4] or 0)
  if seen and now - seen > lease_ms / 2 then
    grace = now + lease_ms
    redis.call('HSET', KEYS[1], 'seen', now, 'grace', grace)
  elseif not seen or now - seen > lease_ms / 20 then
    redis.call('HSET', KEYS[1], 'seen', now)
  end
  return grace > now, grace
end

local function same_epoch(epoch)
  return meta[2] == epoch
end

local function epoch_error()
  return redis.error_reply('EPOCH ' .. (meta[2] or ''))
end

-- Gives one lease up. Returns false when this attempt does not hold it any more.
local function give_up_lease(id, task_type, fence, worker)
  local member = id .. ':' .. fence
  redis.call('HDEL', P .. 'held:' .. worker, member)
  return redis.call('ZREM', P .. 'leases:' .. task_type, member) == 1
end

-- Gives up the leases of all the tasks in a call: ARGV 5… in steps of `step`, id, type and fence first.
-- Returns the members that were held, as a set. In few calls, for the sake of busy workers.
local function give_up_leases(worker, step)
  local members, by_type, held = {}, {}, {}
  for a = 5, #ARGV, step do
    local member, task_type = ARGV[a] .. ':' .. ARGV[a + 2], ARGV[a + 1]
    local list = by_type[task_type]
    if not list then
      list = {}
      by_type[task_type] = list
    end
    list[#list + 1], members[#members + 1] = member, member
  end
  redis.call('HDEL', P .. 'held:' .. worker, unpack(members))
  for task_type, list in pairs(by_type) do
    local leases = P .. 'leases:' .. task_type
    for i, ends in ipairs(redis.call('ZMSCORE', leases, unpack(list))) do
      held[list[i]] = ends and true or nil
    end
    redis.call('ZREM', leases, unpack(list))
  end
  return held
end

-- What became of an attempt that holds no lease: the status if this attempt itself brought it about
-- (the same call came twice), else 'lost'.
local function already(id, fence, expected)
  local r = redis.call('HMGET', P .. 'task:' .. id, 's', 'f')
  if r[1] and r[2] == fence and expected[r[1]] then
    return r[1]
  end
  return 'lost'
end

local FINAL = { completed = true, failed = true, cancelled = true }

-- Back to the front of its list, as if it had not been claimed.
local function hand_back(id, task_type, retention_seconds)
  local r = redis.call('HMGET', P .. 'task:' .. id, 'rc', 'cc', 'x', 'pl', 'k')
  if r[3] then
    end_task(id, 'cancelled', r[4], r[5], retention_seconds)
    return 'cancelled'
  end
  enqueue(id, task_type, is_retry(r[1], r[2]), true)
  wake(task_type)
  return 'queued'
end

-- Takes back the expired leases of a queue, at most 100 a call; returns when the next one ends.
-- More than max_crashes: the task is taken for the cause, and fails.
local function reap(task_type, max_crashes, retention_seconds)
  local key = P .. 'leases:' .. task_type
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  local ends = tonumber(first[2])
  if not ends or ends > now then
    return ends
  end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', key, member)
    local id, fence = string.match(member, '^(.*):(%d+)$')
    local task = P .. 'task:' .. id
    local r = redis.call('HMGET', task, 's', 'f', 'cc', 'w', 'x', 'pl', 'k')
    if r[4] then
      redis.call('HDEL', P .. 'held:' .. r[4], member)
    end
    if r[1] == 'running' and r[2] == fence then
      local crashes = tonumber(r[3] or 0) + 1
      count(task_type, 'crashes', 1)
      if r[5] then
        end_task(id, 'cancelled', r[6], r[7], retention_seconds, 'cc', crashes)
      elseif crashes > max_crashes then
        local message = 'the worker was lost ' .. crashes .. ' times while it ran this task'
        bury(id, task_type, message, r[6], r[7], retention_seconds, 'cc', crashes)
      else
        redis.call('HSET', task, 'cc', crashes)
        enqueue(id, task_type, true, true)
      end
    end
  end
  first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return tonumber(first[2])
end
