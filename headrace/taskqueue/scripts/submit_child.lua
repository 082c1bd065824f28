--- include common, counters, records, waiting, clock_set_back, leases, holds, versions, writing
-- submit_child: the holder of a lease submits a task whose end wakes the holder's own task: its parent.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  worker    2  epoch    3  lease in ms    4  the parent's id    5  its type    6  its fence
--       7  the queue's maximum length    8  how many children a task may have that have not ended
--       9  id    10  type    11  payload    12  max_retries    13  start in ms or 0
--       14  options (see Options in task.py), which name the parent, too
-- Returns  'queued' or 'pending' (created), '=<status>' (it was there already), or 'lost': the lease is
-- Errors   EPOCH <new>, UPGRADE <id>, FULL <type>, CHILDREN <parent>

local worker, epoch, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local parent, parent_type, fence = ARGV[4], ARGV[5], ARGV[6]
local max_length, most, start = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[13])
local id, task_type, children = ARGV[9], ARGV[10], P .. 'children:' .. parent
if not same_epoch(epoch) then
  return epoch_error()
end
leases_are_held(lease_ms)

local member = parent .. ':' .. fence
local r = read_task(parent)
if not r or not (call('ZSCORE', P .. 'leases:' .. parent_type, member) or is_run_by(r, fence)) then
  return 'lost'
end
local status = call('HGET', P .. 'task:' .. id, 's')
if status then
  if not FINAL[status] then
    call('SADD', children, id)
  end
  return '=' .. status
elseif an_old_worker_lives(lease_ms) then
  return redis.error_reply('UPGRADE ' .. id)
elseif call('SCARD', children) >= most then
  return redis.error_reply('CHILDREN ' .. parent)
elseif waiting_length(task_type, max_length - 1) >= max_length then
  return redis.error_reply('FULL ' .. task_type)
end

call('SADD', children, id)
call('HSET', P .. 'task:' .. parent, 'i', 1, 'ch', 1, 'v', 2)
mark_hold(worker, member)
local key = write(id, task_type, ARGV[11])
call('HSET', key, 'v', 2, 'm', ARGV[12], 'o', ARGV[14], 'pa', parent)
call('SADD', P .. 'queues', task_type)
count_now(task_type, 'arrivals', 1)
if start > now then
  delay(id, task_type, start, false)
  return 'pending'
end
redis.call('RPUSH', list_key(task_type, 0), id)
wake(task_type)
return 'queued'
