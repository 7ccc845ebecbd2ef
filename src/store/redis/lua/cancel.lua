#!lua flags=allow-oom
-- Makes sure that a batch is not executed from now on, if it was not yet.
-- ARGV: pod, number of the batch. Reply: as that of the batch, if it was executed; null: it never will be.

if not isMember(pod) then
  return redis.error_reply('EXPELLED this pod is not among the pods')
end
local batchKey = key('batch:' .. pod)
local last = call('HMGET', batchKey, 'no', 'reply')
local number, lastNumber = tonumber(ARGV[2]), tonumber(last[1] or 0)
if number == lastNumber and last[2] then
  local replies = cmsgpack.unpack(last[2])
  if #replies > 0 then return replies end
end
if number >= lastNumber then
  call('HSET', batchKey, 'no', ARGV[2], 'reply', cmsgpack.pack({}))
end
return false
