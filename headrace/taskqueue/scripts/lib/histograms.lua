-- Histograms of waiting and run times. A script counts in a table and writes each number once.

-- Upper bounds of the histograms' buckets in milliseconds; the last bucket has none. As in stats.py.
local BOUNDS = {
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000, 120000, 300000,
  600000, 1800000, 3600000,
}

local measured = {}

local function measure(task_type, ms)
  local buckets = measured[task_type]
  if not buckets then
    buckets = { hits = {}, sum = 0, last = 1 }
    measured[task_type] = buckets
  end
  -- From the bucket found last: in a batch, neighbours are alike.
  local bucket = buckets.last
  while bucket > 1 and ms <= BOUNDS[bucket - 1] do
    bucket = bucket - 1
  end
  while bucket <= #BOUNDS and ms > BOUNDS[bucket] do
    bucket = bucket + 1
  end
  buckets.last, buckets.sum = bucket, buckets.sum + ms
  buckets.hits[bucket] = (buckets.hits[bucket] or 0) + 1
end

-- kind: 'w' (waiting times) or 'r' (run times)
local function write_histograms(kind)
  for task_type, buckets in pairs(measured) do
    local histogram = P .. 'histogram:' .. task_type
    call('HINCRBY', histogram, kind .. 's', buckets.sum)
    for bucket, hits in pairs(buckets.hits) do
      call('HINCRBY', histogram, kind .. bucket, hits)
    end
  end
end
