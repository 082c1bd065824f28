-- How a new task is written.

-- Writes the record of a new task that asks for nothing besides, and its payload.
local function write(id, task_type, payload)
  local key, field, kept = P .. 'task:' .. id, 'p', payload
  if #payload > INLINE_BYTES then
    redis.call('SET', P .. 'payload:' .. id, payload)
    field, kept = 'pl', '1'
  end
  if redis.call('HSET', key, 's', 'queued', 'v', '1', 't', task_type, 'c', NOW, field, kept) < 5 then
    -- Something lay there that was no record.
    set_aside('task:' .. id, 'it was no record, and a task was submitted by this id')
    redis.call('HSET', key, 's', 'queued', 'v', '1', 't', task_type, 'c', NOW, field, kept)
  end
  return key
end
