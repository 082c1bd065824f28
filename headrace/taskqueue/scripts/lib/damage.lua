-- What was set aside, for a log.

-- What was named since somebody last asked, the oldest first: (what, why) each. Whoever asks logs it.
local function damage_to_be_logged()
  local counts = call('HMGET', KEYS[1], 'damaged', 'damage_logged')
  local total, logged, found = whole(counts[1]) or 0, whole(counts[2]) or 0, {}
  if total ~= logged then
    call('HSET', KEYS[1], 'damage_logged', total)
  end
  if total > logged then
    local newest = call('XREVRANGE', P .. 'damaged', '+', '-', 'COUNT', total - logged)
    for i = #newest, 1, -1 do
      found[#found + 1] = { newest[i][2][2], newest[i][2][4] }
    end
  end
  return found
end
