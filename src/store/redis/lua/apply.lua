-- Main part of the script that executes a batch of ops; the files op-*.lua stand above it.
-- ARGV: pod, number of the batch, then for each op: count of its arguments, its name, its arguments.
-- Reply: for each op two values: 1 and its reply, or 0 and what went wrong with it. An op that fails has no effect.
-- The last reply is remembered: a batch that comes twice is executed once. STALE: a later one was executed before.
-- EXPELLED: this pod is not among the pods (any more); nothing is executed.

if not isMember(pod) then
  return redis.error_reply('EXPELLED this pod is not among the pods')
end
local batchKey = key('batch:' .. pod)
local number = tonumber(ARGV[2])
local last = call('HMGET', batchKey, 'no', 'reply')
local lastNumber = tonumber(last[1] or 0) or 0
if number < lastNumber then
  return redis.error_reply('STALE a later batch was executed already: ' .. last[1])
end
if number == lastNumber and last[2] then
  -- A write, so that WAIT on this connection waits for what the first one wrote, too.
  call('HSET', batchKey, 'no', ARGV[2])
  return cmsgpack.unpack(last[2])
end

-- These keep what they know of queues and inboxes until the end of the run, or until another op wants to see it.
local carries = { publish = true, acknowledge = true, release = true }
local replies = {}
local at, count = 3, #ARGV
while at <= count do
  local argumentCount = tonumber(ARGV[at])
  local name = ARGV[at + 1]
  local op = ops[name]
  if not carries[name] then settle() end
  local arguments = {}
  for index = 1, argumentCount do
    arguments[index] = ARGV[at + 1 + index]
  end
  at = at + 2 + argumentCount
  local fine, reply = false, 'no such op'
  if op then fine, reply = pcall(op, arguments) end
  if type(reply) == 'table' and reply.err then
    fine, reply = false, reply.err
  end
  if reply == nil then reply = false end
  if not fine then reply = tostring(reply) end
  replies[#replies + 1] = fine and 1 or 0
  replies[#replies + 1] = reply
end
settle()
call('HSET', batchKey, 'no', ARGV[2], 'reply', cmsgpack.pack(replies))
return replies
