-- A task's journal: entries that were appended since its state was last written. Needs versions.lua.
--
-- journal:<id> has them in order, and the field j of the record their number. A record that has one is of
-- version 2: a worker that reads only version 1 would go on from the state alone.

-- Whether entries cannot be stored now: a worker lives that would not see them.
local function is_too_early(r, count, lease_ms)
  return count > 0 and whole(r.v) < 2 and an_old_worker_lives(lease_ms)
end

-- first: where the entries begin in ARGV
local function append_entries(id, r, first, count)
  local last = first + count - 1
  for a = first, last, 1000 do
    redis.call('RPUSH', P .. 'journal:' .. id, unpack(ARGV, a, math.min(last, a + 999)))
  end
  call('HSET', P .. 'task:' .. id, 'j', (r.j or 0) + count, 'v', 2)
end

-- What a state is written over needs no journal any more.
local function drop_journal(id, r)
  if r.j then
    redis.call('DEL', P .. 'journal:' .. id)
    call('HDEL', P .. 'task:' .. id, 'j')
    r.j = nil
  end
end
