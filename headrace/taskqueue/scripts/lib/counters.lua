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

-- Counts at once. For one number this is cheaper than the table.
local function count_now(task_type, name, by)
  call('HINCRBY', P .. 'counts:' .. task_type, name, by)
  if RATED[name] then
    local rates = P .. 'rates:' .. task_type .. ':' .. math.floor(now / 60000)
    -- Every field's first count sets the expiry; that is often enough.
    if call('HINCRBY', rates, RATED[name] .. math.floor(now % 60000 / 5000), by) == by then
      redis.call('EXPIRE', rates, RATES_KEPT_SECONDS)
    end
  end
end

local function write_counters()
  for task_type, names in pairs(counted) do
    for name, by in pairs(names) do
      if by ~= 0 then
        count_now(task_type, name, by)
      end
    end
  end
end
