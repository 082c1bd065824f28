--- include common, counters, records, waiting, family, ending, attempts, clock_set_back, leases, reaping
-- reap: expired leases are taken back. Every claim does the same; this is for tools and tests of
-- a queue that nobody claims from.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  lease in ms    2  how many crashes fail a task    3  retention in seconds    4… queues
-- Returns  how many tasks were taken back

local lease_ms, max_crashes, retention_seconds = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
allow_writes_when_full()
if leases_are_held(lease_ms) then
  return 0
end
local taken = 0
for i = 4, #ARGV do
  local key = P .. 'leases:' .. ARGV[i]
  local before = call('ZCARD', key)
  reap(ARGV[i], max_crashes, retention_seconds)
  taken = taken + before - call('ZCARD', key)
  if call('LLEN', list_key(ARGV[i], 0)) > 0 then
    wake(ARGV[i])
  end
end
write_counters()
write_ends(retention_seconds)
return taken
