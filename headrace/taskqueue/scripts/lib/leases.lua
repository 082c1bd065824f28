-- Leases: who holds which task until when.
--
-- Needs counters.lua, records.lua, clock_set_back.lua.
--
-- leases:<type> is the only index of what runs: member 'id:fence', score the end of the lease.
-- held:<worker> says the same by worker: 'id:fence' → 'request:type', or 'request!type' when the end
-- of the attempt has to look into the record: a payload of its own key, a kept state, an error of an
-- earlier attempt, or the wish that it stop. Most have none of these, and looking costs 2 µs.

-- Notes that leases are looked after, and returns whether they are all held for now. When nobody did
-- so for half a lease, Redis was away or nobody was there: workers get one whole lease to come back
-- before anything is taken from them. (Renewals come every third of a lease.)
-- A time of the last call that lies ahead was written by a clock that ran ahead (clock_set_back.lua).
local function leases_are_held(lease_ms)
  local seen, grace = whole(meta[3]), whole(meta[4] or 0)
  if meta[3] and not seen or not grace then
    set_aside('meta', nil, seen and 'grace' or 'seen')
    grace = 0
  end
  local ahead = seen and seen - now > lease_ms / 20
  if ahead then
    bound_times(seen, lease_ms)
  end
  if seen and now - seen > lease_ms / 2 or grace > now + lease_ms then
    grace = now + lease_ms
    call('HSET', KEYS[1], 'seen', now, 'grace', grace)
  elseif not seen or ahead or now - seen > lease_ms / 20 then
    call('HSET', KEYS[1], 'seen', now)
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

local function is_marked(hold)
  return string.find(hold, '!', 1, true) ~= nil
end

-- Whether a member is the hold of this attempt. The leases say so; when the lease is gone although
-- nobody took the task back, the record does.
local function is_run_by(r, fence)
  return r and r.s == 'running' and r.f == fence
end

-- What became of an attempt that does not hold its task: the status if the attempt itself brought it about
-- (the same call came twice), else 'lost'.
local function what_became(r, fence, expected)
  return r and r.f == fence and expected[r.s] and r.s or 'lost'
end

-- Gives up the leases of all the tasks in a call: ARGV 5… in steps of `step`, id, type and fence first.
-- Returns the members that were held, and their entries of held:<worker> ('!' where there is none). In few
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
  local holds = call('HMGET', key, unpack(members))
  call('HDEL', key, unpack(members))
  for i, member in ipairs(members) do
    held[member] = holds[i] or '!'
  end
  for task_type, list in pairs(by_type) do
    local leases = P .. 'leases:' .. task_type
    for i, ends in ipairs(call('ZMSCORE', leases, unpack(list))) do
      if not ends then
        held[list[i]] = nil
      end
    end
    call('ZREM', leases, unpack(list))
  end
  return held
end

local FINAL = { completed = true, failed = true, cancelled = true }
