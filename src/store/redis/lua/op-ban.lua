-- Bans of addresses, at all pods.

-- As many as a pod keeps in memory (listeners/bans.ts).
local MAX_BANS = 65536

local function ban(address, until_ms)
  local old = tonumber(call('HGET', key('bans'), address) or 0) or 0
  if old >= until_ms or (old == 0 and call('HLEN', key('bans')) >= MAX_BANS) then return end
  call('HSET', key('bans'), address, string.format('%.0f', until_ms))
  log('ban', address, until_ms)
end

-- ban <address> <until, ms>. Reply: 1.
ops['ban'] = function(a)
  ban(a[1], tonumber(a[2]))
  return 1
end

-- refused <address> <limit> <window, ms> <ban, ms>: one more refusal of credentials. Reply: how many there were in
-- the window, which begins with the first.
ops['refused'] = function(a)
  local counter = key('failures:' .. a[1])
  local count = call('INCR', counter)
  if count == 1 then call('PEXPIRE', counter, a[3]) end
  if count >= tonumber(a[2]) then
    call('DEL', counter)
    ban(a[1], nowMs() + tonumber(a[4]))
  end
  return count
end

-- unban <address> <until, ms>: that ban is over. Reply: 1.
ops['unban'] = function(a)
  local until_ms = tonumber(call('HGET', key('bans'), a[1]) or 0)
  if until_ms and until_ms <= tonumber(a[2]) then call('HDEL', key('bans'), a[1]) end
  return 1
end

-- lift-ban <address>: no ban any more, and nothing counted towards one. An entry `ban` until 0, always: a pod may have
-- banned it by itself. Reply: 1, or 0 if there was none.
ops['lift-ban'] = function(a)
  local count = call('HDEL', key('bans'), a[1])
  call('DEL', key('failures:' .. a[1]))
  log('ban', a[1], 0)
  return count
end
