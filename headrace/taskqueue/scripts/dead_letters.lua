--- include common
-- dead_letters: the ids of failed tasks, the latest first. Changes nothing.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  type    2  offset    3  how many
-- Returns  how many there are, then the ids

local dead, offset, limit = P .. 'dead:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local reply = { redis.call('ZCARD', dead) }
for _, id in ipairs(redis.call('ZREVRANGE', dead, offset, offset + limit - 1)) do
  reply[#reply + 1] = id
end
return reply
