-- Delayed tasks whose time has come. Needs counters.lua, records.lua, waiting.lua.

-- Moves due delayed tasks into their list, at most 1000 a call; returns when the next one is due
-- (nil: none).
local function promote(task_type)
  local next_due
  for _, retry in ipairs({ false, true }) do
    local key = delayed_key(task_type, retry)
    local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
    local due = tonumber(first[2])
    if due and due <= now then
      local found = call('ZRANGEBYSCORE', key, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1000)
      local ids = {}
      for i = 1, #found, 2 do
        local id = found[i]
        ids[#ids + 1] = id
        -- Pending tasks have the first of these fields, and no others.
        local is_pending = call('HDEL', P .. 'task:' .. id, 'd', 'wo') > 0
        local r = not is_pending and read_task(id, 'the delayed tasks of ' .. task_type)
        if is_pending or r and r.s == 'pending' then
          -- It has waited since it was due, whenever somebody came to see that.
          enqueue(id, task_type, retry, false, whole(found[i + 1]) or now)
        elseif r then
          name_damage('task:' .. id, 'it stood among the delayed tasks, and is ' .. r.s)
        end
      end
      call('ZREM', key, unpack(ids))
      first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
      due = tonumber(first[2])
    end
    if due and due < tonumber(NEVER) and (not next_due or due < next_due) then
      next_due = due
    end
  end
  return next_due
end
