#!lua flags=allow-oom
-- A pod joins, or says that it is still there, before it loads everything.
-- ARGV: pod, epoch for data that has none, epoch that the pod knows (empty: none), 1 if it has joined before, lease in
-- ms, figures, latest format that it reads.
-- Reply: `joined`, epoch, last position of the log, last position of its inbox, format that was found;
-- `expelled`: it had joined this data, and was declared dead: it has to come with another name;
-- `format` and the format, which it does not read: a later one, or a migration is not finished;
-- `older` and names of pods that live and read an earlier format only. Nothing is written with these three.

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

-- All but this one, with their beats, ms.
local function otherPods()
  local found = call('HGETALL', key('pods'))
  local beats = {}
  for i = 1, #found, 2 do
    if found[i] ~= pod then beats[found[i]] = tonumber(found[i + 1]) or 0 end
  end
  return beats
end

local latest = tonumber(ARGV[7])
local format = call('GET', key('format'))
local isOlder = false
if format then
  local number = string.match(format, '^%d+$') and tonumber(format)
  if not number or number < 1 or number > latest then return { 'format', format } end
  isOlder = number < latest
end
if isOlder then
  local living = {}
  for name, beat in pairs(otherPods()) do
    if nowMs() - beat <= tonumber(ARGV[5]) then living[#living + 1] = name end
  end
  if #living > 0 then return { 'older', table.concat(living, ', ') } end
end
call('SETNX', key('epoch'), ARGV[2])
local epoch = call('GET', key('epoch'))
local isNew = not isMember(pod)
if isNew and ARGV[4] == '1' and ARGV[3] == epoch then
  return { 'expelled' }
end
beat(ARGV[5])
call('HSET', key('podinfo'), pod, ARGV[6])
withoutForeign(key('log'), tonumber(call('GET', key('logpos')) or 0))
if isOlder then
  -- One of them that is only frozen is not to write any more when it wakes up.
  for name in pairs(otherPods()) do declareDead(name) end
end
call('SET', key('format'), text(latest))
if isNew then log('pod', pod, 'joined') end
local inboxPosition = tonumber(call('HGET', key('inboxpos'), pod) or 0)
withoutForeign(key('inbox:' .. pod), inboxPosition)
return { 'joined', epoch, tonumber(call('GET', key('logpos')) or 0), inboxPosition, tonumber(format or latest) }
