#!lua flags=allow-oom
-- A pod has handled its inbox up to a position: those entries go.
-- ARGV: pod, position, bytes of the entries that are handled since the last time.
-- Reply: last position that was given out, count of entries that are left.

local stream = key('inbox:' .. pod)
local last = tonumber(call('HGET', key('inboxpos'), pod) or 0)
local removed = call('XTRIM', stream, 'MINID', '=', string.format('%.0f-0', tonumber(ARGV[2]) + 1))
local left = call('XLEN', stream)
if left == 0 then
  call('HDEL', key('inboxbytes'), pod)
elseif removed > 0 then
  call('HINCRBY', key('inboxbytes'), pod, -tonumber(ARGV[3]))
end
return { last, left }
