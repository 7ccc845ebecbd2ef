-- Ownership of client ids: `owner` says who holds the claim of one. A claim always succeeds, beside limits: the highest
-- number is the owner. `claim` in a session's hash: held, and not released in order.

-- Entries that may have been sent by a connection whose end nobody has told: the oldest, as many as can be in flight.
local function sentUncleanly(kid, seq, n, count)
  if n <= count then return seq end
  local from, last, left = '-', 0, count
  while left > 0 do
    local part = call('XRANGE', key('q:' .. kid), from, '+', 'COUNT', math.min(left, 64))
    if #part == 0 then return seq end
    from = '(' .. part[#part][1]
    last = seqOf(part[#part][1])
    left = left - #part
  end
  return last
end

-- Connections of this name, without that of the session itself. What is not owned with that number is gone.
local function connectionsOf(username, sessionId)
  local users = key('u:' .. username)
  local held = call('HGETALL', users)
  local count = 0
  for i = 1, #held, 2 do
    local number = ownerOf(held[i])
    if number == nil or text(number) ~= held[i + 1] then call('HDEL', users, held[i])
    elseif held[i] ~= sessionId then count = count + 1 end
  end
  return count
end

local function claimed(sessionId, oldPod)
  local number = text(call('INCR', key('fence')))
  if oldPod and oldPod ~= pod then call('SREM', key('owned:' .. oldPod), sessionId) end
  call('HSET', key('owner'), sessionId, number .. ':' .. pod)
  call('SADD', key('owned:' .. pod), sessionId)
  return number
end

local function putWill(sessionId, number, will)
  if will ~= '' then call('HSET', key('wills'), sessionId, number .. ':' .. will)
  else call('HDEL', key('wills'), sessionId) end
  call('ZREM', key('willdue'), sessionId)
end

local function isWillOf(sessionId, number)
  local will = call('HGET', key('wills'), sessionId)
  return will and string.sub(will, 1, #number + 1) == number .. ':'
end

-- A will that waits is due when its session ends [MQTT-3.1.3-9]: under a name that no session has, as the place is the
-- next one's. True if there is one.
local function endWait(sessionId)
  local will = call('HGET', key('wills'), sessionId)
  if not will or willDelay(will) == 0 then return false end
  local name = sessionId .. '\0\0' .. string.match(will, '^%d*')
  call('HSET', key('wills'), name, will)
  call('ZADD', key('willdue'), text(nowMs()), name)
  return true
end

-- Its time may be over, although no sweep has seen it yet; or it ends with a connection that ends now.
local function isOver(skey, atMs, isConnected)
  local found = redis.pcall('HMGET', skey, 'expires', 'expiry')
  if found.err then return false end
  local expires = tonumber(found[1] or 0) or 0
  return (expires > 0 and expires <= atMs) or (isConnected and found[2] == '0')
end

-- claim <session id> <clean 1/0> <now, ms> <number for the session, if it is new> <will or empty> <sessions at most>
-- <sessions that are groups> <username or empty> <connections of it at most; 0: no limit>
-- <entries that may be in flight> <number that this pod holds already, whose connection has to publish its will; or 0>
-- <a session is to be stored, if there is none 1/0> <its expiry interval, s, or empty>
-- Reply: 1 sessions are too many, 2 connections of the user; or 0, number, old pod if it lives and is another, old
-- number, 1 if the session was there and 2 more if the will was put (that of an owner that lives is left to it), 4 if one
-- is stored now, 8 if a will that waited is due; then the position of the log, and of the session, if one is stored: its
-- number, seq, sent, n, b, until when it would have waited (ms), the incoming identifiers, and the expiry interval that it
-- had, or empty.
ops['claim'] = function(a)
  local id, isClean, username, perUser, isToBeStored = a[1], a[2] == '1', a[8], tonumber(a[9]), a[12] == '1'
  local kid = 'c' .. id
  local skey = key('s:' .. kid)
  local oldNumber, oldPod = ownerOf(id)
  local isThere = hasSession(kid)
  local isPresent = isThere and not isOver(skey, tonumber(a[3]), oldNumber ~= nil)
  if isToBeStored and not isThere and call('HLEN', key('sessions')) - tonumber(a[7]) >= tonumber(a[6]) then
    return { 1 }
  end
  if perUser > 0 and username ~= '' then
    -- Counted one by one only when there might be too many: some may be of pods that are dead.
    if call('HLEN', key('u:' .. username)) >= perUser and connectionsOf(username, id) >= perUser then return { 2 } end
  end
  local isElsewhere = oldPod ~= nil and oldPod ~= pod and isMember(oldPod)
  local number = claimed(id, oldPod)
  if perUser > 0 then
    forgetUser(id)
    if username ~= '' then
      call('HSET', key('u:' .. username), id, number)
      call('HSET', key('claimuser'), id, username)
    end
  end
  if isElsewhere then inbox(oldPod, { 'taken', id, tonumber(number), pod }) end
  local isWillPut = not isElsewhere and (a[11] == '0' or not isWillOf(id, a[11]))
  local goesOn = isPresent and not isClean
  local isStored = goesOn or isToBeStored
  local isWillDue = isWillPut and not goesOn and endWait(id)
  if isWillPut then putWill(id, number, a[5]) end
  local flags = (isPresent and 1 or 0) + (isWillPut and 2 or 0) + (isStored and 4 or 0) + (isWillDue and 8 or 0)
  local reply = { 0, tonumber(number), isElsewhere and oldPod or '', oldNumber or 0, flags }
  local position = goesOn and head() or 0
  if isThere and not goesOn then position = removeSession(kid) end
  if isStored and not goesOn then position = addSession(kid, a[3], a[4]) end
  if not isStored then
    reply[6] = position
    return reply
  end
  local s = call('HMGET', skey, 'number', 'seq', 'sent', 'n', 'b', 'expires', 'claim', 'expiry')
  local sent = s[3]
  if s[7] then
    sent = math.max(tonumber(sent), sentUncleanly(kid, tonumber(s[2]), tonumber(s[4]), tonumber(a[10])))
    sent = text(sent)
  end
  call('HSET', skey, 'expires', 0, 'sent', sent, 'claim', number)
  setExpiry(kid, a[13])
  if goesOn then call('ZREM', key('expiry'), kid) end
  reply[6] = position
  reply[7], reply[8], reply[9], reply[10], reply[11], reply[12] = s[1], s[2], sent, s[4], s[5], s[6]
  reply[13] = goesOn and call('SMEMBERS', key('i:' .. kid)) or {}
  reply[14] = s[8] or ''
  return reply
end

-- claim-will <session id> <claim, 0: none> <will or empty> <the session before is over 1/0>: in place of any. Of a client
-- without a claim it is due at once. Reply: 0 and 1 if the one before waited for the end of its session, or 0 and 0; or
-- 2 or 4: the claim is lost.
ops['claim-will'] = function(a)
  if not mayWrite('c' .. a[1], a[2]) then return refused('c' .. a[1]) end
  local isWillDue = a[4] == '1' and not isWillOf(a[1], a[2]) and endWait(a[1])
  putWill(a[1], a[2], a[3])
  if a[2] == '0' and a[3] ~= '' then call('ZADD', key('willdue'), nowMs(), a[1]) end
  return { 0, isWillDue and 1 or 0 }
end

-- will-delete <session id> <claim>: if it is of that claim. Reply: 0.
ops['will-delete'] = function(a)
  if isWillOf(a[1], a[2]) then putWill(a[1], a[2], '') end
  return { 0 }
end

-- release-claim <session id> <claim> <expires, ms> <sent up to> <will due, ms; 0: there is none> <pod to tell, or empty>
-- <the session ends with it 1/0> [<expiry interval that it has again, s, or empty>]. Reply: 1, or 0 if it was lost before.
ops['release-claim'] = function(a)
  local id, number = a[1], a[2]
  local kid, skey = 'c' .. a[1], key('s:c' .. a[1])
  local isHeld = isMine(id, number)
  if isHeld then
    call('HDEL', key('owner'), id)
    call('SREM', key('owned:' .. pod), id)
    forgetUser(id)
    if a[7] == '1' and hasSession(kid) then
      removeSession(kid)
    elseif hasSession(kid) then
      if a[8] then setExpiry(kid, a[8]) end
      local sent = math.max(tonumber(a[4]), tonumber(call('HGET', skey, 'sent') or 0))
      call('HSET', skey, 'expires', a[3], 'sent', text(sent))
      call('HDEL', skey, 'claim')
      if a[3] ~= '0' then call('ZADD', key('expiry'), a[3], kid)
      -- DISCONNECT may have made it so: whoever moves the store is not to give it an end.
      elseif call('HEXISTS', skey, 'expiry') == 1 then setExpiry(kid, text(NEVER_EXPIRES)) end
    end
    if isWillOf(id, number) then
      if a[5] ~= '0' then call('ZADD', key('willdue'), a[5], id) else putWill(id, number, '') end
    else
      -- Of a connection that this one has outbid: whoever had it may be dead.
      local will = call('HGET', key('wills'), id)
      if will then call('ZADD', key('willdue'), text(willDueMs(id, will)), id) end
    end
  end
  if a[6] ~= '' then inbox(a[6], { 'released', id, tonumber(number) }) end
  return { isHeld and 1 or 0 }
end

-- reclaim, for each: <session id> <claim> <will or empty>: what is held goes on being held, unless a higher number is
-- there. A Redis that has lost its last writes may not know it, and may have given lower numbers since: whoever has one
-- is told. A will that is not there was not published: somebody owns its client. Reply: for each 1, or 0: lost.
ops['reclaim'] = function(a)
  local reply = {}
  for i = 1, #a, 3 do
    local id, number = a[i], a[i + 1]
    local held, holder = ownerOf(id)
    local isOurs = holder == pod and held == tonumber(number)
    if not isOurs and (held == nil or held < tonumber(number)) then
      if holder and holder ~= pod then
        call('SREM', key('owned:' .. holder), id)
        inbox(holder, { 'taken', id, tonumber(number), pod })
      end
      call('HSET', key('owner'), id, number .. ':' .. pod)
      if tonumber(call('GET', key('fence')) or 0) < tonumber(number) then call('SET', key('fence'), number) end
      if hasSession('c' .. id) then
        call('HSET', key('s:c' .. id), 'expires', 0, 'claim', number)
        call('ZREM', key('expiry'), 'c' .. id)
      end
      isOurs = true
    end
    if isOurs then
      call('SADD', key('owned:' .. pod), id)
      if a[i + 2] ~= '' and not isWillOf(id, number) then putWill(id, number, a[i + 2]) end
    end
    reply[#reply + 1] = isOurs and 1 or 0
  end
  return reply
end
