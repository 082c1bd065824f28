--- include common, counters, waiting, ending
-- counts: how many tasks of each type are in each state. Changes nothing.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  the type behind which to begin, or ''    2  how many types at most    3  retention in seconds
-- Returns  1 if there are further types; then for each type: its name, how many are queued, running, pending,
--          completed, failed, cancelled, and 1 if older ended ones have left the indexes: there were too many

local after, most, kept_since = ARGV[1], tonumber(ARGV[2]), now - tonumber(ARGV[3]) * 1000
local types = call('SMEMBERS', P .. 'queues')
table.sort(types)

local function counts_of(task_type)
  local r = call('HMGET', P .. 'counts:' .. task_type, 'tombstones', 'cut_completed', 'cut_cancelled')
  local queued = call('LLEN', list_key(task_type, 0)) - (whole(r[1]) or 0)
  local cut = math.max(whole(r[2]) or 0, whole(r[3]) or 0)
  return {
    task_type,
    math.max(queued, 0),
    call('ZCARD', P .. 'leases:' .. task_type),
    call('ZCARD', delayed_key(task_type, false)) + call('ZCARD', delayed_key(task_type, true)),
    call('ZCARD', ended_key(task_type, 'completed')),
    call('ZCARD', ended_key(task_type, 'failed')),
    call('ZCARD', ended_key(task_type, 'cancelled')),
    cut > kept_since and 1 or 0,
  }
end

local reply = { 0 }
for _, task_type in ipairs(types) do
  if task_type > after then
    if #reply > most then
      reply[1] = 1
      break
    end
    reply[#reply + 1] = counts_of(task_type)
  end
end
return reply
