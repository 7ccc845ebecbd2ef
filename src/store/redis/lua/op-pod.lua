-- The end of pods. `dead` takes a pod and its routes away in one piece, with the proof that it is dead; `bury` then ends
-- what it owned, in portions. The set `dying` names pods whose burial is not over, so that any pod can go on with it.
-- All of them can be run twice.

-- Nobody at all has beaten for this long: Redis was away or frozen, and the next beat gives everybody a lease (lib.lua).
local AMNESTY_AFTER_MS = 2000

-- dead <pod> <lease, ms>: declares it dead, if it has not beaten for that long. Reply: 1, or 0: it lives, or is gone
-- already.
ops['dead'] = function(a)
  local name = a[1]
  local last = tonumber(call('HGET', key('pods'), name) or '')
  if not last or nowMs() - last <= tonumber(a[2]) then return 0 end
  if nowMs() - tonumber(call('GET', key('lastbeat')) or 0) > AMNESTY_AFTER_MS then return 0 end
  if nowMs() < tonumber(call('GET', key('graceuntil')) or 0) then return 0 end
  call('SADD', key('dying'), name)
  call('HDEL', key('pods'), name)
  members[name] = false
  call('HDEL', key('podinfo'), name)
  call('HDEL', key('inboxpos'), name)
  call('HDEL', key('inboxbytes'), name)
  call('UNLINK', key('inbox:' .. name), key('batch:' .. name), key('wants:' .. name), key('seats:' .. name))
  log('pod', name, 'dead')
  return 1
end

-- What it has leased of a group is free again, for members elsewhere.
local function bury_leases(name, group)
  local leases = call('HGETALL', key('gl:' .. group))
  local isFilled = false
  for i = 1, #leases, 2 do
    if leases[i + 1] == name then
      call('HDEL', key('gl:' .. group), leases[i])
      call('ZADD', key('gr:' .. group), leases[i], leases[i])
      isFilled = true
    end
  end
  if not isFilled then return end
  for _, other in ipairs(call('HKEYS', key('pods'))) do
    if call('HEXISTS', key('groups:' .. other), group) == 1 then inbox(other, { 'filled', group }) end
  end
end

-- Some of its groups. True if there are more.
local function bury_groups(name, portion)
  local groups = key('groups:' .. name)
  local found = call('HSCAN', groups, 0, 'COUNT', portion)[2]
  for i = 1, #found, 2 do
    bury_leases(name, found[i])
    call('SREM', key('gm:' .. found[i]), 'p' .. name)
    call('HDEL', groups, found[i])
  end
  return call('EXISTS', groups) == 1
end

-- Some of its claims. True if there may be more.
local function bury_claims(name, expiry, portion)
  local owned = key('owned:' .. name)
  for _, id in ipairs(call('SPOP', owned, portion)) do
    local _, owner = ownerOf(id)
    if owner == name then
      call('HDEL', key('owner'), id)
      if call('HEXISTS', key('wills'), id) == 1 then call('ZADD', key('willdue'), nowMs(), id) end
      local kid = 'c' .. id
      if expiry > 0 and call('HEXISTS', key('sessions'), kid) == 1 then
        call('HSET', key('s:' .. kid), 'expires', nowMs() + expiry)
        call('ZADD', key('expiry'), nowMs() + expiry, kid)
      end
    end
  end
  return call('EXISTS', owned) == 1
end

-- bury <pod> <session expiry, ms; 0: never> <portion>: of a pod that was declared dead: its claims end, its stored
-- sessions begin to expire, its wills are due, its leases are free. Reply: 1 if there is more, else 0.
ops['bury'] = function(a)
  local name, portion = a[1], tonumber(a[3])
  if isMember(name) then return 0 end
  if bury_claims(name, tonumber(a[2]), portion) or bury_groups(name, portion) then return 1 end
  call('SREM', key('dying'), name)
  return 0
end

-- leaving <portion>: this pod ends in order: it lets go of groups. Reply: 1 if there is more, else 0.
ops['leaving'] = function(a)
  return bury_groups(pod, tonumber(a[1])) and 1 or 0
end
