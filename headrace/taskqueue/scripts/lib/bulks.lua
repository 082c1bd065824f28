-- Bulk operations: one action for many tasks.
--
-- bulk:<id> says what is to be done and how far it is; bulk_ids:<id> is the list of what is left of its matches;
-- bulk_failures:<id> has its first failures. `bulks` has all of them by the time of their start, `bulks_active`
-- those that are worked on.

local function bulk_key(id)
  return P .. 'bulk:' .. id
end

local function bulk_ids_key(id)
  return P .. 'bulk_ids:' .. id
end

local function bulk_failures_key(id)
  return P .. 'bulk_failures:' .. id
end

-- They are kept so long after their last step.
local function keep_bulk(id, retention_seconds)
  redis.call('EXPIRE', bulk_key(id), retention_seconds)
  redis.call('EXPIRE', bulk_ids_key(id), retention_seconds)
  redis.call('EXPIRE', bulk_failures_key(id), retention_seconds)
end

-- Nothing of it is left to be done.
local function end_bulk(id)
  call('HSET', bulk_key(id), 'ended', NOW)
  call('ZREM', P .. 'bulks_active', id)
end
