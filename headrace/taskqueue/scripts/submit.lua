--- include common, counters, waiting
-- submit: a new task enters its queue, or waits for its start time.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  the queue's maximum length
--       2… batches, each all or nothing: n, then n × (id, type, payload, max_retries, start_ms or 0,
--          payload's hash or '')
-- Returns  epoch, then for each task: 'queued' or 'pending' (created), '=<status>' (it was there
--          already), 'conflict' (there, with another payload), 'full', 'refused' (for another task
--          of its batch)

local max_length = tonumber(ARGV[1])
local epoch = draw_epoch()
local reply = { epoch }
local lengths, queued = {}, {}
-- A queue as short as this has room for whatever this call brings.
local short = max_length - #ARGV / 6
-- Queues in which nothing waited: perhaps their first task.
local new = {}

local function length(task_type)
  local known = lengths[task_type]
  if not known then
    known = waiting_length(task_type, short)
    lengths[task_type], new[task_type] = known, known == 0
  end
  return known
end

local function status_at(start)
  return start ~= '0' and tonumber(start) > now and 'pending' or 'queued'
end

-- What is known of an id: its status and its payload's hash. twin: the place of a task of this batch
-- that bears the same id.
local function find(id, twin)
  if twin then
    return status_at(ARGV[twin + 4]), ARGV[twin + 5]
  end
  local there = redis.call('HMGET', P .. 'task:' .. id, 's', 'h')
  return there[1], there[2]
end

local function store(id, task_type, payload, max_retries, start, hash)
  local key, field, kept = P .. 'task:' .. id, 'p', payload
  if #payload > INLINE_BYTES then
    redis.call('SET', P .. 'payload:' .. id, payload)
    field, kept = 'pl', '1'
  end
  redis.call('HSET', key, 's', 'queued', 'v', '1', 't', task_type, 'c', NOW, field, kept)
  -- Both are rare: a call of their own is cheaper than a list of fields for every task.
  if max_retries ~= '3' then
    redis.call('HSET', key, 'm', max_retries)
  end
  if hash ~= '' then
    redis.call('HSET', key, 'h', hash)
  end
  if status_at(start) == 'pending' then
    delay(id, task_type, start, false)
    return 'pending'
  end
  local ids = queued[task_type]
  if not ids then
    ids = {}
    queued[task_type] = ids
  end
  ids[#ids + 1] = id
  return 'queued'
end

local at = 2
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  local first, outcomes, refused = at + 1, {}, false
  local added, twins = {}, {}
  for i = 0, n - 1 do
    local a = first + i * 6
    local id, task_type, hash = ARGV[a], ARGV[a + 1], ARGV[a + 5]
    local status, known_hash = find(id, twins[id])
    if status then
      if hash ~= '' and known_hash and known_hash ~= hash then
        refused = true
        outcomes[i] = 'conflict'
      else
        outcomes[i] = '=' .. status
      end
    else
      added[task_type] = (added[task_type] or 0) + 1
      if length(task_type) + added[task_type] > max_length then
        refused = true
        outcomes[i] = 'full'
      end
      twins[id] = a
    end
  end
  for i = 0, n - 1 do
    local a = first + i * 6
    if refused then
      local culprit = outcomes[i] == 'conflict' or outcomes[i] == 'full'
      reply[#reply + 1] = culprit and outcomes[i] or 'refused'
    elseif outcomes[i] then
      reply[#reply + 1] = outcomes[i]
    else
      local task_type = ARGV[a + 1]
      reply[#reply + 1] =
        store(ARGV[a], task_type, ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5])
      lengths[task_type] = lengths[task_type] + 1
      count(task_type, 'arrivals', 1)
    end
  end
  at = first + n * 6
end

for task_type in pairs(counted) do
  if new[task_type] then
    redis.call('SADD', P .. 'queues', task_type)
  end
end
for task_type, ids in pairs(queued) do
  redis.call('RPUSH', P .. 'queue:' .. task_type, unpack(ids))
  wake(task_type)
end
write_counters()
return reply
