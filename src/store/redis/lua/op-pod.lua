-- The end of pods. `dead` takes a pod and its routes away in one piece, with the proof that it is dead; `bury` then ends
-- what it owned, in portions. The set `dying` names pods whose burial is not over, so that any pod can go on with it.
-- All of them can be run twice.

-- Nobody at all has beaten for this long: Redis was away or frozen, and the next beat gives everybody a lease (lib.lua).
local AMNESTY_AFTER_MS = 2000

-- dead <pod> <lease, ms>: declares it dead, if it has not beaten for that long. Reply: 1, or 0: it lives, or is gone
-- already.
ops['dead'] = function(a)
  local name = a[1]
  local beaten = call('HGET', key('pods'), name)
  if not beaten or nowMs() - (tonumber(beaten) or 0) <= tonumber(a[2]) then return 0 end
  if nowMs() - tonumber(call('GET', key('lastbeat')) or 0) > AMNESTY_AFTER_MS then return 0 end
  if nowMs() < tonumber(call('GET', key('graceuntil')) or 0) then return 0 end
  declareDead(name)
  return 1
end

-- Some of its groups. True if there are more.
local function buryGroups(name, portion)
  local groups = key('groups:' .. name)
  local found = call('HSCAN', groups, 0, 'COUNT', portion)[2]
  for i = 1, #found, 2 do
    freeLeases(name, found[i])
    call('HDEL', groups, found[i])
    leaveGroup(found[i], 'p' .. name)
  end
  return call('EXISTS', groups) == 1
end

-- Nobody is connected any more: its time away begins, or it ends with its connection.
local function sessionLeft(kid, configuredMs)
  local own = call('HGET', key('s:' .. kid), 'expiry')
  if own == '0' then
    removeSession(kid)
    return
  end
  local awayMs = own and tonumber(own) * 1000 or configuredMs
  if awayMs == 0 or own == text(NEVER_EXPIRES) then return end
  local expires = text(nowMs() + awayMs)
  call('HSET', key('s:' .. kid), 'expires', expires)
  call('ZADD', key('expiry'), expires, kid)
end

-- Some of its claims. True if there are more. The field `claim` of a session stays: its end was not told (op-claim.lua).
local function buryClaims(name, expiry, portion)
  local owned = key('owned:' .. name)
  for _, id in ipairs(call('SPOP', owned, portion)) do
    local _, owner = ownerOf(id)
    if owner == name then
      call('HDEL', key('owner'), id)
      forgetUser(id)
      local will = call('HGET', key('wills'), id)
      if will then call('ZADD', key('willdue'), text(willDueMs(id, will)), id) end
      if hasSession('c' .. id) then sessionLeft('c' .. id, expiry) end
    end
  end
  return call('EXISTS', owned) == 1
end

-- bury <pod> <expiry of sessions without one of their own, ms; 0: never> <portion>: of a pod that was declared dead: its claims end, its stored
-- sessions begin to expire, its wills are due, its leases are free. Reply: 1 if there is more, else 0.
ops['bury'] = function(a)
  local name, portion = a[1], tonumber(a[3])
  if isMember(name) then return 0 end
  if buryClaims(name, tonumber(a[2]), portion) or buryGroups(name, portion) then return 1 end
  call('SREM', key('dying'), name)
  return 0
end

-- leaving <portion>: this pod ends in order: it lets go of groups. Reply: 1 if there is more, else 0.
ops['leaving'] = function(a)
  return buryGroups(pod, tonumber(a[1])) and 1 or 0
end
