-- Which versions of a record the live workers read. A worker of 0.2.0 that meets a record of version 2 hands
-- everything back and ends.

-- Whether a live worker reads only version 1. That is asked for with each task that needs version 2, so the
-- answer holds for a second.
local function an_old_worker_lives(lease_ms)
  local asked, answer = string.match(call('HGET', KEYS[1], 'old_worker') or '', '^(%d+):([01])$')
  if not asked or math.abs(now - asked) >= 1000 then
    answer = '0'
    -- Silent for two leases: it is gone.
    for _, worker in ipairs(call('ZRANGEBYSCORE', P .. 'workers', now - 2 * lease_ms, '+inf')) do
      local r = call('HMGET', P .. 'worker:' .. worker, 'info', 'reads')
      if r[1] and not r[2] then
        answer = '1'
        break
      end
    end
    call('HSET', KEYS[1], 'old_worker', NOW .. ':' .. answer)
  end
  return answer == '1'
end
