-- Fenced leases on work that one process at a time does, such as trimming the indexes.
--
-- tend:<name> is a hash: `holder`, `until` when, and `fence`, which grows with each new holder. What is written
-- under the lease is checked against holder and fence in the same script, so that a process which stood still
-- beyond its lease writes nothing any more.

local function tend_key(name)
  return P .. 'tend:' .. name
end

-- Holder, until when, fence; nothing for a lease that nobody has held.
local function tended_by(name)
  local r = call('HMGET', tend_key(name), 'holder', 'until', 'fence')
  return r[1], whole(r[2]) or 0, whole(r[3]) or 0
end

-- Whether the caller holds the lease. Who does not, is answered FENCED <name>.
local function is_tended_by(name, holder, fence)
  local holds, ends, current = tended_by(name)
  return holds == holder and current == tonumber(fence) and ends > now
end
