#!lua flags=no-writes
-- A portion of all sessions with their subscriptions.
-- ARGV: pod, cursor, about so many. Reply: next cursor, then for each session: kid, its hash, its subscriptions (both
-- field and value in turn), its incoming identifiers.

-- Null: what is there is no such thing.
local function value(...)
  local found = redis.pcall(...)
  if type(found) == 'table' and found.err then return false end
  return found
end

local found = call('HSCAN', key('sessions'), ARGV[2], 'COUNT', ARGV[3])
local reply = { found[1] }
for i = 1, #found[2], 2 do
  local kid = found[2][i]
  reply[#reply + 1] = kid
  reply[#reply + 1] = value('HMGET', key('s:' .. kid), 'expiry', 'number', 'created', 'expires', 'seq', 'sent', 'n', 'b')
  reply[#reply + 1] = value('HGETALL', key('f:' .. kid))
  reply[#reply + 1] = value('SMEMBERS', key('i:' .. kid))
end
return reply
