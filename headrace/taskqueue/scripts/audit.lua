--- include common
-- audit: who has changed what, the newest first. Changes nothing.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  the entry behind which to begin, or ''    2  how many at most    3  how many are looked at
--       4  the key's name    5  action    6  what it was done with. '' of 4 to 6: whatever
-- Returns  the entry to go on from ('': there is nothing more), then for each entry: id, key, action, subject,
--          request

local most = tonumber(ARGV[2])
local wanted = { key = ARGV[4], action = ARGV[5], subject = ARGV[6] }
local first = ARGV[1] == '' and '+' or '(' .. ARGV[1]
local entries = call('XREVRANGE', P .. 'audit', first, '-', 'COUNT', tonumber(ARGV[3]))

local function fits(fields)
  for name, value in pairs(wanted) do
    if value ~= '' and fields[name] ~= value then
      return false
    end
  end
  return true
end

local found, last = {}, ''
for i, entry in ipairs(entries) do
  if #found == most then
    break
  end
  local fields = {}
  for f = 1, #entry[2], 2 do
    fields[entry[2][f]] = entry[2][f + 1]
  end
  if fits(fields) then
    found[#found + 1] = { entry[1], fields.key or '', fields.action or '', fields.subject or '', fields.request or '' }
  end
  last = (i < #entries or #entries == tonumber(ARGV[3])) and entry[1] or ''
end
return { last, unpack(found) }
