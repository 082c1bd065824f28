-- Drain marks.

-- No mark holds for longer unless it is renewed. As DRAIN_SECONDS in queue.py.
local LONGEST_MARK_MS = 60000

-- Whether a worker is marked. A mark that would stay, or outlast that, was written by nobody of ours or by a
-- clock that ran ahead: it ends when a new one would.
local function is_draining(worker)
  local mark = P .. 'drain:' .. worker
  local left = redis.call('PTTL', mark)
  if left == -1 or left > LONGEST_MARK_MS then
    redis.call('PEXPIRE', mark, LONGEST_MARK_MS)
  end
  return left ~= -2
end
