-- One hold at a time, and entries of held:<worker>: see leases.lua, which this needs.

-- The request and the type that an entry of held:<worker> names.
local function parts_of(hold)
  return string.match(hold, '^(%d+)[:!](.*)$')
end

-- The end of this attempt is to look into the record.
local function mark_hold(worker, member)
  local key = P .. 'held:' .. worker
  local request, task_type = parts_of(call('HGET', key, member) or '')
  if request then
    call('HSET', key, member, hold_of(request, task_type, true))
  end
end

-- The parts of an entry of held:<worker>: id, fence, request, type; nothing for one that is not of that
-- form, which is dropped.
local function entry_of(worker, member, hold)
  local id, fence = string.match(member, '^(.*):(%d+)$')
  local request, task_type = parts_of(hold)
  if id and request then
    return id, fence, tonumber(request), task_type
  end
  name_damage('held:' .. worker .. ' ' .. member, 'is not of the form id:fence, request:type')
  call('HDEL', P .. 'held:' .. worker, member)
end

-- Gives one lease up. Returns the task's record; or nil when this attempt does not hold it any more, and
-- what became of it.
local function give_up_lease(id, task_type, fence, worker, expected)
  local member, leases = id .. ':' .. fence, 'leases:' .. task_type
  call('HDEL', P .. 'held:' .. worker, member)
  local leased = call('ZREM', P .. leases, member) == 1
  local r = read_task(id, leased and leases)
  if is_run_by(r, fence) then
    return r
  end
  return nil, what_became(r, fence, expected)
end
