-- What every script begins with. KEYS[1]: prefix of all keys. ARGV[1]: the pod that runs it.
-- LOG_MAX (entries) and INBOX_MAX_BYTES are set above, from the configuration of that pod.

local call = redis.call
local prefix = KEYS[1]
local pod = ARGV[1]
local ops = {}

local function key(name)
  return prefix .. name
end

local now
-- Redis' time in ms, the same throughout a run.
local function nowMs()
  if not now then
    local time = call('TIME')
    now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  end
  return now
end

-- XADD of a number that must be above all others. Foreign entries would stop the stream for good: then it begins
-- anew, which its readers see as a gap.
local function append(stream, number, ...)
  local id = string.format('%.0f-0', number)
  local added = redis.pcall('XADD', stream, id, ...)
  if type(added) == 'table' and added.err then
    call('DEL', stream)
    call('XADD', stream, id, ...)
  end
end

-- Appends JSON `[kind, pod, ...]` to the log; answers its position. cjson.null for null; no nil.
local function log(kind, ...)
  local position = call('INCR', key('logpos'))
  append(key('log'), position, 'e', cjson.encode({ kind, pod, ... }))
  if position % 64 == 0 then
    call('XTRIM', key('log'), 'MAXLEN', '~', LOG_MAX)
  end
  return position
end

local members = {}
-- It has joined, and was not declared dead.
local function isMember(name)
  if members[name] == nil then
    members[name] = call('HEXISTS', key('pods'), name) == 1
  end
  return members[name]
end

-- Nothing of it is executed any more. What it owned is ended in portions (`bury` in op-pod.lua).
local function declareDead(name)
  call('SADD', key('dying'), name)
  call('HDEL', key('pods'), name)
  members[name] = false
  call('HDEL', key('podinfo'), name)
  call('HDEL', key('inboxpos'), name)
  call('HDEL', key('inboxbytes'), name)
  call('UNLINK', key('inbox:' .. name), key('batch:' .. name), key('wants:' .. name), key('seats:' .. name))
  log('pod', name, 'dead')
end

-- What ops that only add write once for all of them: functions that write it, and forget what they know.
local endings = {}
local function settle()
  for _, ending in ipairs(endings) do ending() end
end

-- Of the pods that this run has written to: last number, bytes.
local inboxes = {}
endings[1] = function()
  for toPod, inbox in pairs(inboxes) do
    call('HSET', key('inboxpos'), toPod, string.format('%.0f', inbox.position))
    call('HSET', key('inboxbytes'), toPod, string.format('%.0f', inbox.bytes))
  end
  inboxes = {}
end

-- Appends to the inbox of a pod: JSON of the array `header` and, if there is one, the message. Past the bound only
-- the number of a message is used up, so that the reader sees a gap; what is said of claims is small, and must not be
-- missed. Nothing for a pod that is not there.
local function inbox(toPod, header, message)
  if not isMember(toPod) then return end
  local to = inboxes[toPod]
  if not to then
    to = {
      position = tonumber(call('HGET', key('inboxpos'), toPod) or 0),
      bytes = tonumber(call('HGET', key('inboxbytes'), toPod) or 0),
    }
    inboxes[toPod] = to
  end
  to.position = to.position + 1
  if message and to.bytes >= INBOX_MAX_BYTES then return end
  local text = cjson.encode(header)
  to.bytes = to.bytes + #text + (message and #message or 0)
  if message then
    append(key('inbox:' .. toPod), to.position, 'e', text, 'm', message)
  else
    append(key('inbox:' .. toPod), to.position, 'e', text)
  end
end

-- Number and pod of who holds the claim of a session id; nil: nobody.
local function ownerOf(sessionId)
  local value = call('HGET', key('owner'), sessionId)
  if not value then return nil end
  local number, owner = string.match(value, '^(%d+):(.*)$')
  return tonumber(number), owner
end

local function isMine(sessionId, number)
  local held, owner = ownerOf(sessionId)
  return held ~= nil and owner == pod and held == tonumber(number)
end

-- This pod lives. When nobody has said so for 2 s, Redis was away or frozen: nobody is declared dead for a lease then.
local function beat(leaseMs)
  local last = tonumber(call('GET', key('lastbeat')) or 0)
  if nowMs() - last > 2000 then
    call('SET', key('graceuntil'), string.format('%.0f', nowMs() + tonumber(leaseMs)))
  end
  local text = string.format('%.0f', nowMs())
  call('SET', key('lastbeat'), text)
  call('HSET', key('pods'), pod, text)
end
