-- A clock that ran ahead, and is right again. What it wrote lies ahead by minutes or hours; unless that is
-- cut, tasks whose worker is lost would wait as long.

-- ahead: how far the clock had run, at least: the time of the last call by it
local function bound_times(ahead, lease_ms)
  -- No lease ends later than one lease from now.
  local function bound_leases(task_type)
    local leases, ends = P .. 'leases:' .. task_type, now + lease_ms
    for _, member in ipairs(call('ZRANGEBYSCORE', leases, '(' .. ends, '+inf')) do
      call('ZADD', leases, ends, member)
    end
  end

  -- No back-off is longer than it was meant to be. Start times and the times to go on were given from
  -- outside, and stay.
  local function bound_back_offs(task_type)
    local retries, cursor = P .. 'retries:' .. task_type, '0'
    repeat
      local page = call('ZSCAN', retries, cursor, 'COUNT', 1000)
      cursor = page[1]
      for i = 1, #page[2], 2 do
        local id, due = page[2][i], tonumber(page[2][i + 1])
        local r = due > now and read_task(id)
        if r and r.bo and not r.pk and due > now + r.bo then
          call('ZADD', retries, now + r.bo, id)
          call('HSET', P .. 'task:' .. id, 'd', now + r.bo)
        end
      end
    until cursor == '0'
  end

  -- What was counted for minutes that lie ahead is forgotten: it would be counted for them once more.
  local function forget_rates(task_type)
    local first, last = math.floor(now / 60000) + 1, math.floor(ahead / 60000) + 1
    local kept = math.ceil(RATES_KEPT_SECONDS / 60)
    for minute = math.max(first, last - kept), last do
      redis.call('DEL', P .. 'rates:' .. task_type .. ':' .. minute)
    end
  end

  for _, task_type in ipairs(call('SMEMBERS', P .. 'queues')) do
    bound_leases(task_type)
    bound_back_offs(task_type)
    forget_rates(task_type)
  end
end
