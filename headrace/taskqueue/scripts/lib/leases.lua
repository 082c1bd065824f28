-- Leases: who holds which task until when.
--
-- leases:<type> is the only index of what runs: member 'id:fence', score the end of the lease.
-- held:<worker> says the same by worker: 'id:fence' → 'request:type', or 'request!type' when the end
-- of the attempt has to look into the record: a payload of its own key, a kept state, an error of an
-- earlier attempt, or the wish that it stop. Most have none of these, and looking costs 2 µs.

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

-- How a worker's call begins. Returns an error reply when Redis lost the data that the worker knows.
local function begin(epoch, lease_ms)
  if not same_epoch(epoch) then
    return epoch_error()
  end
  allow_writes_when_full()
  leases_are_held(lease_ms)
end

local function hold_of(request, task_type, marked)
  return request .. (marked and '!' or ':') .. task_type
end

-- The request and the type that an entry of held:<worker> names.
local function parts_of(hold)
  return string.match(hold, '^(%d+)[:!](.*)$')
end

local function is_marked(hold)
  return string.find(hold, '!', 1, true) ~= nil
end

-- The end of this attempt is to look into the record.
local function mark_hold(worker, member)
  local key = P .. 'held:' .. worker
  local request, task_type = parts_of(redis.call('HGET', key, member) or '')
  if request then
    redis.call('HSET', key, member, hold_of(request, task_type, true))
  end
end

-- Gives one lease up. Returns false when this attempt does not hold it any more.
local function give_up_lease(id, task_type, fence, worker)
  local member = id .. ':' .. fence
  redis.call('HDEL', P .. 'held:' .. worker, member)
  return redis.call('ZREM', P .. 'leases:' .. task_type, member) == 1
end

-- Gives up the leases of all the tasks in a call: ARGV 5… in steps of `step`, id, type and fence first.
-- Returns the members that were held, and their entries of held:<worker> ('!' for want of one). In few
-- calls, for the sake of busy workers.
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
  local key = P .. 'held:' .. worker
  local holds = redis.call('HMGET', key, unpack(members))
  redis.call('HDEL', key, unpack(members))
  for i, member in ipairs(members) do
    held[member] = holds[i] or '!'
  end
  for task_type, list in pairs(by_type) do
    local leases = P .. 'leases:' .. task_type
    for i, ends in ipairs(redis.call('ZMSCORE', leases, unpack(list))) do
      if not ends then
        held[list[i]] = nil
      end
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
