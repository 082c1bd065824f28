--- include common
-- history: a queue's rates, minute by minute, for the last hour. Changes nothing.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  type    2  how many minutes
-- Returns  now, then for each minute, the oldest first: fields and values as in rates:<type>:<minute>

local rates, minutes = P .. 'rates:' .. ARGV[1] .. ':', tonumber(ARGV[2])
local this_minute = math.floor(now / 60000)
local reply = { now }
for back = minutes - 1, 0, -1 do
  reply[#reply + 1] = call('HGETALL', rates .. (this_minute - back))
end
return reply
