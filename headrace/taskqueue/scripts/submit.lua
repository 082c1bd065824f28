--- include common, counters, waiting, versions, writing
-- submit: a new task enters its queue, or waits for its start time.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  the queue's maximum length    2  lease in ms
--       3… batches, each all or nothing: n, then n × (id, type, payload, what it asks for besides).
--          That is '' for most, else 'max_retries start hash needed options': start in ms or 0; hash or
--          '', see request_hash in records.py; options or '', see Options in task.py; needed '1' if no
--          worker is to run it that cannot read its options
-- Returns  epoch, then for each task: 'queued' or 'pending' (created), '=<status>' (it was there
--          already), 'conflict' (there, and not the same), 'full', 'upgrade' (a live worker could not read
--          its options), 'refused' (for another task of its batch)

local STRIDE = 4
local max_length, lease_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local epoch = draw_epoch()

-- The most frequent call by far: one new task that asks for nothing besides. It is served before all that
-- the others need is made, which is a third of its price.
if #ARGV == 3 + STRIDE and ARGV[3 + STRIDE] == '' and not call('HGET', P .. 'task:' .. ARGV[4], 's') then
  local id, task_type = ARGV[4], ARGV[5]
  local waiting = waiting_length(task_type, max_length - 1)
  if waiting < max_length then
    write(id, task_type, ARGV[6])
    if waiting == 0 then
      call('SADD', P .. 'queues', task_type)
    end
    redis.call('RPUSH', list_key(task_type, 0), id)
    wake(task_type)
    count_now(task_type, 'arrivals', 1)
    return { epoch, 'queued' }
  end
end

local reply = { epoch }
local lengths, queued = {}, {}
-- A queue as short as this has room for all tasks of this call.
local short = max_length - #ARGV / STRIDE
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

-- What a task asks for besides; `upgrade`: it has to wait until the last old worker is gone.
local NOTHING = { max_retries = 3, start = 0, hash = '', options = '' }
local asked = {}
local function asked_by(a)
  local packed = ARGV[a + 3]
  if packed == '' then
    return NOTHING
  elseif not asked[a] then
    local max_retries, start, hash, needed, options = string.match(packed, '^(%d+) (%d+) (%S*) ([01]) (.*)$')
    local version = needed == '1' and '2' or VERSION_1_WITH_OPTIONS
    asked[a] = {
      max_retries = tonumber(max_retries), start = tonumber(start), hash = hash, options = options,
      version = version, upgrade = options ~= '' and version == '2' and an_old_worker_lives(lease_ms),
    }
  end
  return asked[a]
end

local function status_at(start)
  return start > now and 'pending' or 'queued'
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
  local id, task_type, asks = ARGV[a], ARGV[a + 1], asked_by(a)
  local key = write(id, task_type, ARGV[a + 2])
  -- All are rare: a call of their own is cheaper than a list of fields for every task.
  if asks.max_retries ~= 3 then
    call('HSET', key, 'm', asks.max_retries)
  end
  if asks.hash ~= '' then
    call('HSET', key, 'h', asks.hash)
  end
  if asks.options ~= '' then
    call('HSET', key, 'v', asks.version, 'o', asks.options)
  end
  lengths[task_type] = lengths[task_type] + 1
  count(task_type, 'arrivals', 1)
  if status_at(asks.start) == 'pending' then
    delay(id, task_type, asks.start, false)
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

-- A batch of one: there is nothing that it has to agree with.
local function submit_one(a)
  local key = P .. 'task:' .. ARGV[a]
  local status = call('HGET', key, 's')
  if status then
    return there_already(status, redis.call('HGET', key, 'h'), asked_by(a).hash)
  elseif asked_by(a).upgrade then
    return 'upgrade'
  end
  return length(ARGV[a + 1]) < max_length and store(a) or 'full'
end

local BLAMED = { conflict = true, full = true, upgrade = true }

-- Sees first whether all of them can be stored.
local function submit_batch(first, n)
  local outcomes, refused = {}, false
  -- Tasks to be added, by type; and where each id stands in ARGV, for it may be there twice.
  local added, twins = {}, {}
  for i = 0, n - 1 do
    local a = first + i * STRIDE
    local id, task_type, asks = ARGV[a], ARGV[a + 1], asked_by(a)
    local twin, status, known_hash = twins[id], nil, nil
    if twin then
      status, known_hash = status_at(asked_by(twin).start), asked_by(twin).hash
    else
      local there = call('HMGET', P .. 'task:' .. id, 's', 'h')
      status, known_hash = there[1], there[2]
    end
    if status then
      outcomes[i] = there_already(status, known_hash, asks.hash)
      refused = refused or outcomes[i] == 'conflict'
    elseif asks.upgrade then
      refused, outcomes[i] = true, 'upgrade'
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
    if refused and not BLAMED[outcome or ''] then
      outcome = 'refused'
    end
    reply[#reply + 1] = outcome or store(first + i * STRIDE)
  end
end

local at = 3
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  if n == 1 then
    reply[#reply + 1] = submit_one(at + 1)
  else
    submit_batch(at + 1, n)
  end
  at = at + 1 + n * STRIDE
end

for task_type in pairs(counted) do
  if new[task_type] then
    call('SADD', P .. 'queues', task_type)
  end
end
for task_type, ids in pairs(queued) do
  redis.call('RPUSH', list_key(task_type, 0), unpack(ids))
  wake(task_type)
end
write_counters()
return reply
