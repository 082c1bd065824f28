-- A task's children, and its parent. Needs counters.lua, records.lua, waiting.lua.
--
-- children:<id> is the set of a task's children that have not ended; its record has the field ch then. A
-- child's record has its parent's id in the field pa. stopping is a list of ended parents whose children are
-- to be cancelled, see stopping.lua.

-- A task that is parked for an item in its inbox goes on.
local function unpark(id, r)
  local retry = is_retry(r.rc, r.cc)
  call('ZREM', delayed_key(r.t, retry), id)
  call('HDEL', P .. 'task:' .. id, 'd', 'wo')
  enqueue(id, r.t, retry, false)
  wake(r.t)
end

-- A child has ended: its parent, if it lives, finds that in its inbox.
local function tell_parent(id, status, parent)
  call('SREM', P .. 'children:' .. parent, id)
  local r = read_task(parent)
  if not r or r.e or not r.ch then
    return
  end
  call('RPUSH', P .. 'inbox:' .. parent, '{"child":"' .. id .. '","status":"' .. status .. '"}')
  if r.s == 'pending' and r.wo then
    unpark(parent, r)
  end
end

-- A parent has ended. Cancelled, it takes its children along: the next heartbeat of any worker sees to that.
local function leave_children(id, status, r, retention_seconds)
  local children = P .. 'children:' .. id
  if status ~= 'cancelled' then
    redis.call('DEL', children)
    call('HDEL', P .. 'task:' .. id, 'ch')
    return
  end
  redis.call('EXPIRE', children, retention_seconds)
  call('RPUSH', P .. 'stopping', id)
  if r.w then
    call('LPUSH', P .. 'signal:' .. r.w, 1)
    redis.call('EXPIRE', P .. 'signal:' .. r.w, 60)
  end
end
