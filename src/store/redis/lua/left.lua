#!lua flags=allow-oom
-- A pod leaves in order. What it could not let go of is ended by the others (`bury` in op-pod.lua).
-- ARGV: pod. Reply: 1, or 0 if it was not there.

if not isMember(pod) then return 0 end
if call('EXISTS', key('owned:' .. pod)) == 1 or call('EXISTS', key('groups:' .. pod)) == 1 then
  call('SADD', key('dying'), pod)
end
call('HDEL', key('pods'), pod)
call('HDEL', key('podinfo'), pod)
call('HDEL', key('inboxpos'), pod)
call('HDEL', key('inboxbytes'), pod)
call('UNLINK', key('inbox:' .. pod), key('batch:' .. pod), key('wants:' .. pod), key('seats:' .. pod))
log('pod', pod, 'left')
return 1
