-- What several scripts know of sessions (docs/decisions/0009-pods.md has the keys). `kid`: `c` and a session id, or `g`
-- and the key of a shared group. Each session has a number of its own, `number` in its hash, which tells it from an
-- earlier one of the same name.

local function bytesBehindTexts(value, from, texts)
  local at = from + 18
  if #value < at + 7 then return 0 end
  for _ = 1, texts do
    if #value < at + 3 then return 0 end
    at = at + 4 + struct.unpack('>I4', value, at)
  end
  return math.max(0, #value - at + 1)
end

-- What a message at rest that begins at this byte counts for (store/counted-bytes.ts): what is behind its topic and its
-- publisher, properties and payload; 0 for what is none.
local function countedBytes(value, from)
  return bytesBehindTexts(value, from, 2)
end

local function payloadBytes(value, from)
  return bytesBehindTexts(value, from, string.byte(value, from + 1) >= 8 and 3 or 2)
end

-- When it expires, ms; 0: never.
local function expiryOf(value, from)
  if #value < from + 17 then return 0 end
  return (struct.unpack('>d', value, from + 10))
end

-- An entry of a queue is three bytes, the third its QoS, and the message.
local ENTRY_HEAD_BYTES = 3

local function text(number)
  return string.format('%.0f', number)
end

local function seqOf(id)
  return tonumber(string.match(id, '^%d+'))
end

local function head()
  return tonumber(call('GET', key('logpos')) or 0)
end

local function hasSession(kid)
  return call('HEXISTS', key('sessions'), kid) == 1
end

-- `<number>:<pod>` of who holds the claim of a session id; false: nobody. For ops that change no claims.
local owners = {}
local function claimOf(sessionId)
  local owner = owners[sessionId]
  if owner == nil then
    owner = call('HGET', key('owner'), sessionId)
    owners[sessionId] = owner
  end
  return owner
end

-- Queues of this run: `seq`, `n` (count), `b` (bytes), `number` (as text); false: there is no such session.
local queues = {}
endings[#endings + 1] = function()
  for kid, queue in pairs(queues) do
    if queue and queue.isChanged then
      call('HSET', key('s:' .. kid), 'seq', text(queue.seq), 'n', text(queue.n), 'b', text(queue.b))
    end
  end
  queues = {}
  owners = {}
end
local function queueOf(kid)
  local queue = queues[kid]
  if queue == nil then
    local s = call('HMGET', key('s:' .. kid), 'seq', 'n', 'b', 'number')
    queue = s[1] and { seq = tonumber(s[1]), n = tonumber(s[2]), b = tonumber(s[3]), number = s[4] } or false
    queues[kid] = queue
  end
  return queue
end

-- XADD of the next number. Foreign entries above it would stop the queue for good: then it is made anew, without them.
local function enqueue(kid, seq, value)
  local queue, id = key('q:' .. kid), text(seq) .. '-0'
  local added = redis.pcall('XADD', queue, id, 'e', value)
  if type(added) ~= 'table' or not added.err then return end
  local kept = redis.pcall('XRANGE', queue, '-', '(' .. id)
  call('DEL', queue)
  if not kept.err then
    for _, one in ipairs(kept) do call('XADD', queue, one[1], unpack(one[2])) end
  end
  call('XADD', queue, id, 'e', value)
end

-- May the holder of this claim write to it? Number 0: whoever has none, while nobody has one. Groups are everybody's.
local function mayWrite(kid, number)
  if string.byte(kid) ~= 99 then return true end
  local owner = claimOf(string.sub(kid, 2))
  if not owner then return number == '0' end
  return owner == number .. ':' .. pod
end

-- The reply to what may not: 2, another holds the claim; 4, nobody does.
local function refused(kid)
  return { claimOf(string.sub(kid, 2)) and 2 or 4 }
end

-- Answers the position in the log.
local function addSession(kid, createdMs, number)
  call('HSET', key('sessions'), kid, createdMs)
  call('HSET', key('s:' .. kid), 'number', number, 'created', createdMs, 'expires', 0, 'seq', 0, 'sent', 0, 'n', 0, 'b', 0)
  return log('session', kid, 1, tonumber(createdMs), tonumber(number))
end

local NEVER_EXPIRES = 4294967295

-- For the pod that dies: seconds that it outlives its connection; empty: as the configuration says.
local function setExpiry(kid, seconds)
  if seconds == '' then call('HDEL', key('s:' .. kid), 'expiry')
  else call('HSET', key('s:' .. kid), 'expiry', seconds) end
end

-- Of a subscription as it is stored: a version byte, and JSON.
local function sharedGroupOf(subscription)
  if not subscription or not string.find(subscription, '"shareGroup"', 1, true) then return nil end
  local fields = cjson.decode(string.sub(subscription, 2))
  return fields.shareGroup .. '/' .. fields.matchFilter
end

-- Its queue exists from now on. `number`: for that session, if it is new.
local function joinGroup(group, member, number)
  call('SADD', key('gm:' .. group), member)
  if not hasSession('g' .. group) then addSession('g' .. group, text(nowMs()), number) end
end

local removeSession

-- The queue goes with the last member, connected or stored.
local function leaveGroup(group, member)
  if call('SREM', key('gm:' .. group), member) == 1 and call('EXISTS', key('gm:' .. group)) == 0 then
    if hasSession('g' .. group) then removeSession('g' .. group) end
  end
end

-- With everything that belongs to it, beside its claim and its will. Answers the position in the log.
removeSession = function(kid)
  -- pcall: what is no session, under a name of ours, must go as well.
  local number = redis.pcall('HGET', key('s:' .. kid), 'number')
  number = type(number) == 'string' and tonumber(number) or 0
  local id = string.sub(kid, 2)
  if string.byte(kid) == 99 then
    for _, subscription in ipairs(redis.pcall('HVALS', key('f:' .. kid))) do
      local group = sharedGroupOf(subscription)
      if group then leaveGroup(group, 's' .. id) end
    end
  else
    call('UNLINK', key('gr:' .. id), key('gl:' .. id))
  end
  call('UNLINK', key('s:' .. kid), key('f:' .. kid), key('q:' .. kid), key('r:' .. kid), key('i:' .. kid))
  call('HDEL', key('sessions'), kid)
  call('ZREM', key('expiry'), kid)
  call('ZREM', key('qexpiry'), kid)
  return log('session', kid, 0, 0, number)
end

-- These entries are free to be leased. Other pods with members are told, unless some were free before: then they know.
local function fillGroup(group, seqs)
  local free = key('gr:' .. group)
  local isKnown = call('EXISTS', free) == 1
  for _, seq in ipairs(seqs) do call('ZADD', free, seq, seq) end
  if isKnown then return end
  for _, member in ipairs(call('SMEMBERS', key('gm:' .. group))) do
    if string.byte(member) == 112 and member ~= 'p' .. pod then
      inbox(string.sub(member, 2), { 'filled', group })
    end
  end
end

-- What a pod has leased of a group is free again, for members elsewhere.
local function freeLeases(name, group)
  local leases = call('HGETALL', key('gl:' .. group))
  local seqs = {}
  for i = 1, #leases, 2 do
    if leases[i + 1] == name then seqs[#seqs + 1] = leases[i] end
  end
  if #seqs == 0 then return end
  local isKnown = call('EXISTS', key('gr:' .. group)) == 1
  for _, seq in ipairs(seqs) do call('HDEL', key('gl:' .. group), seq) end
  fillGroup(group, seqs)
  -- fillGroup tells the others.
  if not isKnown and name ~= pod and call('SISMEMBER', key('gm:' .. group), 'p' .. pod) == 1 then
    inbox(pod, { 'filled', group })
  end
end

-- Takes entries out of a queue: how many of them, and what they weigh.
local function takeOut(kid, count, bytes)
  local queue = queueOf(kid)
  if not queue then return end
  queue.n = math.max(0, queue.n - count)
  queue.b = queue.n == 0 and 0 or math.max(0, queue.b - bytes)
  queue.isChanged = true
end

-- Seconds that a will waits when its connection is lost; 0: none. `value`: number of a claim, colon, will-codec.ts.
local function willDelay(value)
  local colon = string.find(value, ':', 1, true)
  if not colon or #value < colon + 18 or string.byte(value, colon + 1) ~= 2 then return 0 end
  return (struct.unpack('>I4', value, colon + 3))
end

-- When a will is due whose connection is lost now: after its delay, or with its session.
local function willDueMs(sessionId, value)
  local delay = willDelay(value)
  if delay > 0 and not hasSession('c' .. sessionId) then delay = 0 end
  local expiry = delay > 0 and call('HGET', key('s:c' .. sessionId), 'expiry')
  if expiry then delay = math.min(delay, tonumber(expiry)) end
  return nowMs() + delay * 1000
end

-- Connections of one username are kept as `u:<username>`: session id → number of its claim; and the way back.
local function forgetUser(sessionId)
  local username = call('HGET', key('claimuser'), sessionId)
  if not username then return end
  call('HDEL', key('claimuser'), sessionId)
  call('HDEL', key('u:' .. username), sessionId)
end
