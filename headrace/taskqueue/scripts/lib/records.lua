-- A task's record, read as a whole and checked. claim.lua and finish.lua check less, and come here for what
-- looks odd to them. All in one function, which makes its tables when it is called: every script would pay
-- for more.

-- A task's record by field; nil when there is none. One that cannot be used is set aside: nil too.
-- index: where the task stands, so that it must have a record; its absence is named
-- flaw: what the caller has found wrong with it
local function read_task(id, index, flaw)
  local STATUSES = {
    pending = true, queued = true, running = true, completed = true, failed = true, cancelled = true,
  }
  local NUMBERS = { 'v', 'c', 'q', 'd', 'b', 'e', 'm', 'rc', 'cc', 'f', 'bo', 'lf', 'j' }
  local OTHERS = { 's', 't', 'w', 'x', 'z', 'pl', 'k', 'i', 'wo', 'pk', 'lw', 'at', 'pa', 'ch' }

  local function flaw_of(r)
    if (whole(r.v) or 0) > RECORD_VERSION then
      return nil -- a newer version's is not ours to judge
    elseif not STATUSES[r.s or ''] then
      return r.s and 'its status is unknown: ' .. string.sub(r.s, 1, 100) or 'it has no status'
    elseif not r.t then
      return 'it has no type'
    end
    for _, field in ipairs(NUMBERS) do
      if r[field] and not whole(r[field]) then
        return 'its field ' .. field .. ' is not a number: ' .. string.sub(r[field], 1, 100)
      end
    end
    if not (r.v and r.c) then
      return 'its field ' .. (r.v and 'c' or 'v') .. ' is missing'
    elseif r.s == 'running' and not (r.f and r.b and r.w) then
      return 'it is running, and its field f, b or w is missing'
    end
  end

  local key, r, there = P .. 'task:' .. id, {}, false
  for _, fields in ipairs({ NUMBERS, OTHERS }) do
    local values = redis.pcall('HMGET', key, unpack(fields))
    if values.err then
      flaw = 'it has the wrong type: ' .. redis.call('TYPE', key).ok
      break
    end
    for i, field in ipairs(fields) do
      r[field] = values[i]
      there = there or values[i]
    end
  end
  flaw = there and flaw_of(r) or flaw
  if flaw then
    set_aside('task:' .. id, flaw)
    for _, kind in ipairs({ 'payload:', 'state:', 'journal:', 'inbox:', 'children:' }) do
      redis.call('EXPIRE', P .. kind .. id, ASIDE_KEPT_SECONDS)
    end
    return nil
  elseif not there and index and not (moved and moved['task:' .. id]) then
    name_damage('task:' .. id, 'its record is gone, and it stood in ' .. index)
  end
  return there and r or nil
end
