--- include common, counters, ending
-- store_final: writes the final record of a run that happened outside the queue, once. The record is in
-- the index of its end, and counts in no rate and no total.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  id    2  type    3  status    4  payload    5  result or ''    6  error or ''
--       7  created    8  started    9  ended (ms since 1970)    10  max_retries
--       11  retention in seconds    12  hash or '': see request_hash in records.py
--       13  options or '': see Options in task.py
-- Returns  1, or 0 when a record is there already

local id, task_type, payload, result, message = ARGV[1], ARGV[2], ARGV[4], ARGV[5], ARGV[6]
local retention_seconds, options = ARGV[11], ARGV[13]
local key = P .. 'task:' .. id
if redis.call('EXISTS', key) == 1 then
  return 0
end
draw_epoch()
local fields = {
  'v', options == '' and '1' or VERSION_1_WITH_OPTIONS, 't', task_type, 's', ARGV[3], 'c', ARGV[7], 'b', ARGV[8], 'e', ARGV[9], 'm', ARGV[10],
}
local function keep(name, separate_name, kind, value)
  if #value > INLINE_BYTES then
    redis.call('SET', P .. kind .. id, value, 'EX', retention_seconds)
    fields[#fields + 1], fields[#fields + 2] = separate_name, 1
  elseif value ~= '' then
    fields[#fields + 1], fields[#fields + 2] = name, value
  end
end
keep('p', 'pl', 'payload:', payload)
keep('r', 'rl', 'result:', result)
if ARGV[12] ~= '' then
  fields[#fields + 1], fields[#fields + 2] = 'h', ARGV[12]
end
if options ~= '' then
  fields[#fields + 1], fields[#fields + 2] = 'o', options
end
if message ~= '' then
  fields[#fields + 1], fields[#fields + 2] = 'er', message
end
call('HSET', key, unpack(fields))
redis.call('EXPIRE', key, retention_seconds)
call('SADD', P .. 'queues', task_type)
note_end(id, task_type, ARGV[3], ARGV[9])
write_ends(retention_seconds)
return 1
