--- include common
-- audit_note: notes who has changed what. The newest entries are kept.
--
-- KEYS  1  {namespace}:meta
-- ARGV  1  how many are kept    2  the key's name    3  action    4  what it was done with    5  the request's id
-- Returns  the entry's id

return call('XADD', P .. 'audit', 'MAXLEN', ARGV[1], '*', 'key', ARGV[2], 'action', ARGV[3], 'subject', ARGV[4],
  'request', ARGV[5])
