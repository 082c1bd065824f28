--- include common, counters, records, clock_set_back, leases, versions, journals
-- restore: Redis lost its data while a worker ran tasks. The worker puts their records and leases back, so
-- that their results are kept. If a task is there already, another worker has it now.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  request: the number of the worker's last claim
--       5… per task: id, type, payload, fence, created, started, retries, crashes, max_retries, state,
--          hash or '', options or '', its parent's id or '', '1' if it has had children,
--          number of items in its inbox, number of entries of its journal,
--          the items, the entries
-- Returns  per task 1, or 0 when it is lost
-- Errors   EPOCH <new>

local worker, epoch, lease_ms, request = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local refused = begin(epoch, lease_ms)
if refused then
  return refused
end

local reply, a = {}, 5
while a <= #ARGV do
  local id, task_type, payload, fence, state = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 9]
  local options, parent, has_children = ARGV[a + 11], ARGV[a + 12], ARGV[a + 13] == '1'
  local items, entries = tonumber(ARGV[a + 14]), tonumber(ARGV[a + 15])
  local key, member = P .. 'task:' .. id, id .. ':' .. fence
  local leases = P .. 'leases:' .. task_type
  local r = read_task(id)
  if not r then
    local version = options == '' and items == 0 and not has_children and 1 or 2
    call('HSET', key, 'v', version, 't', task_type, 's', 'running', 'f', fence, 'c', ARGV[a + 4], 'b', ARGV[a + 5],
      'rc', ARGV[a + 6], 'cc', ARGV[a + 7], 'm', ARGV[a + 8], 'w', worker)
    if #payload > INLINE_BYTES then
      redis.call('SET', P .. 'payload:' .. id, payload)
      call('HSET', key, 'pl', 1)
    else
      call('HSET', key, 'p', payload)
    end
    if ARGV[a + 10] ~= '' then
      call('HSET', key, 'h', ARGV[a + 10])
    end
    if options ~= '' then
      call('HSET', key, 'o', options)
    end
    if parent ~= '' then
      call('HSET', key, 'pa', parent)
    end
    if has_children then
      call('HSET', key, 'i', 1, 'ch', 1)
    end
    if items > 0 then
      call('RPUSH', P .. 'inbox:' .. id, unpack(ARGV, a + 16, a + 15 + items))
      call('HSET', key, 'i', 1)
    end
    if entries > 0 then
      append_entries(id, {}, a + 16 + items, entries)
    end
    if state ~= '' then
      redis.call('SET', P .. 'state:' .. id, state)
      call('HSET', key, 'k', 1)
    end
  end
  -- It may be there still, when Redis lost this worker alone. Fences begin again with the data, so that
  -- another worker's hold may have the same number.
  if not r or is_run_by(r, fence) and r.w == worker then
    call('ZADD', leases, now + lease_ms, member)
    call('HSET', P .. 'held:' .. worker, member, hold_of(request, task_type, true))
    call('SADD', P .. 'queues', task_type)
  end
  reply[#reply + 1] = call('HEXISTS', P .. 'held:' .. worker, member)
  a = a + 16 + items + entries
end
return reply
