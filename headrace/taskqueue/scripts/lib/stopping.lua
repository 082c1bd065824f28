-- The children of cancelled parents are cancelled. Needs actions.lua.

-- So many by one call; the rest wait for the next heartbeat.
local STOPPED_AT_ONCE = 1000

-- They, and their own children.
local function stop_children(retention_seconds)
  local left, stopping = STOPPED_AT_ONCE, P .. 'stopping'
  while left > 0 do
    local parent = call('LINDEX', stopping, 0)
    if not parent then
      return
    end
    local children = call('SPOP', P .. 'children:' .. parent, left)
    for _, id in ipairs(children) do
      cancel_task(id, true, retention_seconds)
    end
    if #children < left then
      call('LPOP', stopping)
      call('HDEL', P .. 'task:' .. parent, 'ch')
    end
    left = left - #children - 1
  end
end
