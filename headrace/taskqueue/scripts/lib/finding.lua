-- Finds the tasks that a filter asks for, in the order of a list. Needs records.lua, waiting.lua, ending.lua.
--
-- The order: what runs, by the end of its lease; what waits in a list, in the order of service, type by type;
-- what is pending, by its time; what has ended, the newest first. A place in it is (status, number, member,
-- type): of a task in a list, the number says how many had arrived when it did, which neither claims nor
-- submits change; else it is the score in an index, and member is what stands there.

-- As MAX_TYPES in listing.py.
local MOST_TYPES = 100
-- How many entries of an index are read at once.
local CHUNK = 50
-- So far from its place a task is looked for in its list.
local WINDOW = 500
-- Payloads are looked through up to so many bytes a call.
local ENOUGH_PAYLOAD = 2097152

-- Statuses, and how far each stands from the beginning of the list.
local SECTIONS = { running = 1, queued = 2, pending = 3, completed = 4, failed = 4, cancelled = 4 }

-- How many entries of a sorted set stand before (score, member).
local function rank_of(key, score, member)
  local low = call('ZCOUNT', key, '-inf', '(' .. score)
  local high = low + call('ZCOUNT', key, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if call('ZRANGE', key, middle, middle)[1] < member then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- The entries of several sorted sets as one sequence: score, member, and what the set is of.
-- sets: (key, type, status) each; after: (score, member); last: the score at which it ends, if it does
local function merged(sets, descending, after, last)
  local score, member = tostring(after[1]), after[2]

  local function comes_first(a, b)
    if a.score ~= b.score then
      return (a.score > b.score) == descending
    end
    return (a.member > b.member) == descending
  end

  -- Moves a source to its next entry; false at its end.
  local function advance(source)
    if source.i >= #source.chunk then
      local chunk_ends = source.at + CHUNK - 1
      if descending then
        source.chunk = call('ZREVRANGE', source.key, source.at, chunk_ends, 'WITHSCORES')
      else
        source.chunk = call('ZRANGE', source.key, source.at, chunk_ends, 'WITHSCORES')
      end
      source.at, source.i = source.at + CHUNK, 0
    end
    source.member, source.score = source.chunk[source.i + 1], tonumber(source.chunk[source.i + 2])
    source.i = source.i + 2
    return source.member and not (last and source.score < last)
  end

  -- The sources that have an entry left, the one that comes first at the end.
  local sources = {}
  local function put(source)
    local at = #sources
    while at > 0 and comes_first(sources[at], source) do
      at = at - 1
    end
    table.insert(sources, at + 1, source)
  end
  for _, set in ipairs(sets) do
    local before = rank_of(set[1], score, member)
    local source = { key = set[1], type = set[2], status = set[3], chunk = {}, i = 0, at = before }
    if descending then
      source.at = call('ZCARD', set[1]) - before
    end
    if advance(source) and (source.member ~= member or source.score ~= after[1] or advance(source)) then
      put(source)
    end
  end
  return function()
    local source = table.remove(sources)
    if not source then
      return nil
    end
    local entry = { source.status, source.score, source.member, source.type }
    if advance(source) then
      put(source)
    end
    return entry
  end
end

-- What a worker holds: few, so they are put in order here.
local function held_by(worker, task_type, after)
  local members, at = {}, 0
  local held = call('HGETALL', P .. 'held:' .. worker)
  for i = 1, #held, 2 do
    local of_type = string.match(held[i + 1], '^%d+[:!](.*)$')
    if held[i] > after[2] and (not task_type or task_type == of_type) then
      members[#members + 1] = held[i]
    end
  end
  table.sort(members)
  return function()
    at = at + 1
    return members[at] and { 'running', 0, members[at], task_type or '' }
  end
end

-- Where to go on in the list of a type behind the task at this place.
local function index_behind(list, length, arrivals, place, id)
  local index = length - (arrivals - place)
  if call('LINDEX', list, math.max(index, 0)) == id then
    return math.max(index, 0) + 1
  end
  local first = math.max(0, index - WINDOW)
  for i, other in ipairs(call('LRANGE', list, first, math.max(index + WINDOW, 0))) do
    if other == id then
      return first + i
    end
  end
  return math.max(index + 1, 0)
end

-- What waits in lists. after: (place, id, type)
local function queued(types, after)
  local t, list, arrivals, length, at, chunk, i = 0, nil, nil, nil, nil, {}, 0

  local function open(task_type)
    list = list_key(task_type, 0)
    arrivals = whole(call('HGET', P .. 'counts:' .. task_type, 'arrivals')) or 0
    length, at, chunk, i = call('LLEN', list), 0, {}, 0
    if task_type == after[3] then
      at = index_behind(list, length, arrivals, after[1], after[2])
    end
  end

  return function()
    while i >= #chunk do
      if list and at < length then
        chunk, i = call('LRANGE', list, at, at + CHUNK - 1), 0
        if #chunk == 0 then
          at = length
        end
      else
        repeat
          t = t + 1
        until not types[t] or types[t] >= after[3]
        if not types[t] then
          return nil
        end
        open(types[t])
      end
    end
    i, at = i + 1, at + 1
    return { 'queued', arrivals - (length - (at - 1)), chunk[i], types[t] }
  end
end

-- The entries of a section from a place on.
local function section(number, filter, types, wanted, after)
  local sets = {}
  local function add(key, task_type, status)
    sets[#sets + 1] = { P .. key .. ':' .. task_type, task_type, status }
  end
  if number == 1 and filter.worker then
    return held_by(filter.worker, filter.type, after or { 0, '' })
  elseif number == 2 then
    return queued(types, after or { 0, '', '' })
  end
  for _, task_type in ipairs(types) do
    if number == 1 then
      add('leases', task_type, 'running')
    elseif number == 3 then
      add('delayed', task_type, 'pending')
      add('retries', task_type, 'pending')
    else
      for _, status in ipairs({ 'completed', 'failed', 'cancelled' }) do
        if wanted[status] then
          sets[#sets + 1] = { ended_key(task_type, status), task_type, status }
        end
      end
    end
  end
  if number == 4 then
    return merged(sets, true, after or { filter.ended_before or math.huge, '' }, filter.ended_after)
  end
  return merged(sets, false, after or { -math.huge, '' })
end

local payload_bytes = 0

local function payload_has(id, text)
  local payload = redis.pcall('HGET', P .. 'task:' .. id, 'p')
  if type(payload) ~= 'string' then
    payload = call('GET', P .. 'payload:' .. id) or ''
  end
  payload_bytes = payload_bytes + #payload
  return string.find(payload, text, 1, true) ~= nil
end

local function has_tag(packed, tag)
  local could, options = _G.pcall(cmsgpack.unpack, packed)
  for _, other in ipairs(could and type(options) == 'table' and options.t or {}) do
    if other == tag then
      return true
    end
  end
  return false
end

-- Whether a task is one that is looked for. A record that cannot be used is set aside; a newer version's is
-- passed over.
local function is_match(id, status, filter)
  local r = redis.pcall('HMGET', P .. 'task:' .. id, 's', 't', 'c', 'v', 'er', 'o')
  local created, version = whole(r[3]), whole(r[4])
  if r.err or not (SECTIONS[r[1] or ''] and r[2] and created and version) then
    read_task(id)
    return false
  end
  return r[1] == status and version <= RECORD_VERSION
    and (not filter.type or r[2] == filter.type)
    and (not filter.created_after or created >= filter.created_after)
    and (not filter.created_before or created < filter.created_before)
    and (not filter.error or string.find(r[5] or '', filter.error, 1, true) ~= nil)
    and (not filter.tag or r[6] and has_tag(r[6], filter.tag) or false)
    and (not filter.q or payload_has(id, filter.q))
end

-- Calls found(id) for each match behind a place, at most `most` times. Returns how many tasks were looked at,
-- and the place of the last of them: nil when the list has no further one.
-- filter: see TaskFilter in listing.py; place: nil, at the beginning
-- Returns nil and the number of types when there are too many of them.
local function find(filter, place, most, budget, found)
  local types = { filter.type }
  if not filter.type then
    types = call('SMEMBERS', P .. 'queues')
    if #types > MOST_TYPES then
      return nil, #types
    end
    table.sort(types)
  end
  local wanted, sections = {}, {}
  for _, status in ipairs(filter.statuses) do
    wanted[status] = true
    sections[SECTIONS[status]] = true
  end
  local scanned, matches, last = 0, 0, place
  for number = place and SECTIONS[place[1]] or 1, 4 do
    if sections[number] then
      local is_here = place and SECTIONS[place[1]] == number
      local next_entry = section(number, filter, types, wanted, is_here and { unpack(place, 2) } or nil)
      local entry = next_entry()
      while entry do
        if matches == most or scanned == budget or payload_bytes >= ENOUGH_PAYLOAD then
          return scanned, last
        end
        scanned, last = scanned + 1, entry
        local id = number == 1 and string.match(entry[3], '^(.*):%d+$') or entry[3]
        if is_match(id, entry[1], filter) then
          matches = matches + 1
          found(id)
        end
        entry = next_entry()
      end
    end
  end
  return scanned, nil
end
