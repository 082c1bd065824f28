--- include common, counters, waiting
-- submit: a new task enters its queue, or waits for its start time.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  the queue's maximum length
--       2… batches, each all or nothing: n, then n × (id, type, payload, max_retries, start_ms or 0,
--          hash or '': see request_hash in records.py)
-- Returns  epoch, then for each task: 'queued' or 'pending' (created), '=<status>' (it was there
--          already), 'conflict' (there, and not the same), 'full', 'refused' (for another task
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
  local waiting = lengths[task_type]
  if not waiting then
    waiting = waiting_length(task_type, short)
    lengths[task_type], new[task_type] = waiting, waiting == 0
  end
  return waiting
end

local function status_at(start)
  return start ~= '0' and tonumber(start) > now and 'pending' or 'queued'
end

local function there_already(status, known_hash, hash)
  if hash ~= '' and known_hash and known_hash ~= hash
    and known_hash ~= string.sub(hash, 1, 16) .. '?' then
    return 'conflict'
  end
  return '=' .. status
end

-- a: where the task stands in ARGV
local function store(a)
  local id, task_type, payload = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local max_retries, start, hash = ARGV[a + 3], ARGV[a + 4], ARGV[a + 5]
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
  -- Both are rare: a call of their own is cheaper than a list of fields for every task.
  if max_retries ~= '3' then
    call('HSET', key, 'm', max_retries)
  end
  if hash ~= '' then
    call('HSET', key, 'h', hash)
  end
  lengths[task_type] = lengths[task_type] + 1
  count(task_type, 'arrivals', 1)
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

-- The most frequent batch.
local function submit_one(a)
  local key = P .. 'task:' .. ARGV[a]
  local status = call('HGET', key, 's')
  if status then
    return there_already(status, redis.call('HGET', key, 'h'), ARGV[a + 5])
  end
  return length(ARGV[a + 1]) < max_length and store(a) or 'full'
end

-- Sees first whether all of them can be stored.
local function submit_batch(first, n)
  local outcomes, refused = {}, false
  -- Tasks to be added, by type; and where each id stands in ARGV, for it may be there twice.
  local added, twins = {}, {}
  for i = 0, n - 1 do
    local a = first + i * 6
    local id, task_type, hash = ARGV[a], ARGV[a + 1], ARGV[a + 5]
    local twin, status, known_hash = twins[id], nil, nil
    if twin then
      status, known_hash = status_at(ARGV[twin + 4]), ARGV[twin + 5]
    else
      local there = call('HMGET', P .. 'task:' .. id, 's', 'h')
      status, known_hash = there[1], there[2]
    end
    if status then
      outcomes[i] = there_already(status, known_hash, hash)
      refused = refused or outcomes[i] == 'conflict'
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
    local outcome = outcomes[i]
    if refused and outcome ~= 'conflict' and outcome ~= 'full' then
      outcome = 'refused'
    end
    reply[#reply + 1] = outcome or store(first + i * 6)
  end
end

local at = 2
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  if n == 1 then
    reply[#reply + 1] = submit_one(at + 1)
  else
    submit_batch(at + 1, n)
  end
  at = at + 1 + n * 6
end

for task_type in pairs(counted) do
  if new[task_type] then
    call('SADD', P .. 'queues', task_type)
  end
end
for task_type, ids in pairs(queued) do
  redis.call('RPUSH', P .. 'queue:' .. task_type, unpack(ids))
  wake(task_type)
end
write_counters()
return reply
