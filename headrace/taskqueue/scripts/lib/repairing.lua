-- A task that stands in no index would stay as it is for ever. It is repaired by whoever reads it. Needs
-- what reaping.lua needs.

-- r: the task's record. Returns whether it was changed.
local function repair(id, r, retention_seconds)
  if whole(r.v) > RECORD_VERSION then
    return false
  end
  local retry = is_retry(r.rc, r.cc)
  if r.s == 'running' then
    local member = id .. ':' .. r.f
    if call('ZSCORE', P .. 'leases:' .. r.t, member) then
      return false
    end
    name_damage('task:' .. id, 'it was running without a lease, and is handed back')
    call('HDEL', P .. 'held:' .. r.w, member)
    hand_back(id, r.t, r, retention_seconds)
    return true
  elseif r.s == 'pending' and not call('ZSCORE', delayed_key(r.t, retry), id) then
    name_damage('task:' .. id, 'it was pending and not among the delayed tasks, and is so again')
    delay(id, r.t, r.d or now, retry)
    return true
  end
  return false
end
