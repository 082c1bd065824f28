-- Counters and rates. A script counts in a table and writes each number once.

-- Counted for ever in counts:<type>, and per 5 seconds in rates:<type>:<minute>, kept an hour.
local RATED = {
  arrivals = 'a', completions = 'c', failures = 'f', retries = 'r', crashes = 'x',
  service_ms = 's', -- run time of attempts that ended
  parked_ms = 'p', -- run time of attempts that go on later
  stopped = 't', -- attempts that ended cancelled
  unreported = 'u', -- failures of which no attempt told: its worker was lost once too often
}
local RATES_KEPT_SECONDS = 3720

local counted = {}

local function count(task_type, name, by)
  local names = counted[task_type]
  if not names then
    names = {}
    counted[task_type] = names
  end
  names[name] = (names[name] or 0) + by
end

local function write_counters()
  local minute, bucket = math.floor(now / 60000), math.floor(now % 60000 / 5000)
  for task_type, names in pairs(counted) do
    local counts, rates = P .. 'counts:' .. task_type, P .. 'rates:' .. task_type .. ':' .. minute
    for name, by in pairs(names) do
      if by ~= 0 then
        call('HINCRBY', counts, name, by)
        -- Every field's first count sets the expiry; that is often enough.
        if RATED[name] and call('HINCRBY', rates, RATED[name] .. bucket, by) == by then
          redis.call('EXPIRE', rates, RATES_KEPT_SECONDS)
        end
      end
    end
  end
end
