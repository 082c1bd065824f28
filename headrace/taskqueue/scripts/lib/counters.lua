-- Counters, rates and histograms. A script counts in a table and writes each number once.

-- Counted for ever in counts:<type>, and per 5 seconds in rates:<type>:<minute>, kept an hour.
local RATED = {
  arrivals = 'a', completions = 'c', failures = 'f', retries = 'r', crashes = 'x', service_ms = 's',
}
local RATES_KEPT_SECONDS = 3720

-- Upper bounds of the histograms' buckets in milliseconds; the last bucket has none. As in stats.py.
local BOUNDS = {
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000, 120000, 300000,
  600000, 1800000, 3600000,
}

local counted, measured = {}, { w = {}, r = {} }

local function count(task_type, name, by)
  local names = counted[task_type]
  if not names then
    names = {}
    counted[task_type] = names
  end
  names[name] = (names[name] or 0) + by
end

-- kind: 'w' (waiting time) or 'r' (run time)
local function measure(task_type, kind, ms)
  local buckets = measured[kind][task_type]
  if not buckets then
    buckets = { s = 0 }
    measured[kind][task_type] = buckets
  end
  local bucket = 1
  while bucket <= #BOUNDS and ms > BOUNDS[bucket] do
    bucket = bucket + 1
  end
  buckets[bucket] = (buckets[bucket] or 0) + 1
  buckets.s = buckets.s + ms
end

local function write_counters()
  local minute, bucket = math.floor(now / 60000), math.floor(now % 60000 / 5000)
  for task_type, names in pairs(counted) do
    local counts, rates = P .. 'counts:' .. task_type, P .. 'rates:' .. task_type .. ':' .. minute
    for name, by in pairs(names) do
      if by ~= 0 then
        redis.call('HINCRBY', counts, name, by)
        -- Every field's first count sets the expiry; that is often enough.
        if RATED[name] and redis.call('HINCRBY', rates, RATED[name] .. bucket, by) == by then
          redis.call('EXPIRE', rates, RATES_KEPT_SECONDS)
        end
      end
    end
  end
  for kind, by_type in pairs(measured) do
    for task_type, buckets in pairs(by_type) do
      for name, by in pairs(buckets) do
        redis.call('HINCRBY', P .. 'histogram:' .. task_type, kind .. name, by)
      end
    end
  end
end
