#!lua flags=allow-oom
-- A pod joins, or says that it is still there, before it loads everything.
-- ARGV: pod, epoch for data that has none, epoch that the pod knows (empty: none), 1 if it has joined before, lease in
-- ms, figures.
-- Reply: `joined`, epoch, last position of the log, last position of its inbox, version of the format;
-- or `expelled`: it had joined this data, and was declared dead: it has to come with another name.

-- What others have put on our streams would keep us from ever reading to their ends.
local function withoutForeign(stream, position)
  local last = redis.pcall('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  if type(last) == 'table' and last.err then
    call('DEL', stream)
  elseif last[1] then
    local number, sub = string.match(last[1][1], '^(%d+)-(%d+)$')
    if sub ~= '0' or tonumber(number) > position then call('DEL', stream) end
  end
end

call('SETNX', key('format'), '1')
local format = call('GET', key('format'))
call('SETNX', key('epoch'), ARGV[2])
local epoch = call('GET', key('epoch'))
if format ~= '1' then
  return { 'joined', epoch, 0, 0, format }
end
local isNew = not isMember(pod)
if isNew and ARGV[4] == '1' and ARGV[3] == epoch then
  return { 'expelled' }
end
beat(ARGV[5])
call('HSET', key('podinfo'), pod, ARGV[6])
withoutForeign(key('log'), tonumber(call('GET', key('logpos')) or 0))
if isNew then log('pod', pod, 'joined') end
local inboxPosition = tonumber(call('HGET', key('inboxpos'), pod) or 0)
withoutForeign(key('inbox:' .. pod), inboxPosition)
return { 'joined', epoch, tonumber(call('GET', key('logpos')) or 0), inboxPosition, format }
