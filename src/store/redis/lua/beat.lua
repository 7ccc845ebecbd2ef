#!lua flags=allow-oom
-- A pod says that it lives. Also while Redis is out of memory: nobody is dead for that.
-- ARGV: pod, lease in ms, figures.
-- Reply: Redis' time in ms as text, epoch (null: there is none), last position of the log, 1 if the pod is among the
-- pods (else nothing was written), then all pods and their last beats.

local isHere = isMember(pod)
if isHere then
  beat(ARGV[2])
  call('HSET', key('podinfo'), pod, ARGV[3])
end
local reply = {
  string.format('%.0f', nowMs()),
  call('GET', key('epoch')),
  tonumber(call('GET', key('logpos')) or 0),
  isHere and 1 or 0,
}
for _, value in ipairs(call('HGETALL', key('pods'))) do
  reply[#reply + 1] = value
end
return reply
