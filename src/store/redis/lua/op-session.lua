-- Sessions and their subscriptions. `claim`: number of the claim that this pod holds, 0: none. A reply that begins with
-- 2 says that another holds it, with 4 that nobody does, and both that nothing was written.

-- session-create <kid> <created, ms> <number for it, if it is new>
-- Reply: its number, created, seq, sent, n, b, and the position of the log that has it.
ops['session-create'] = function(a)
  local kid = a[1]
  local position
  if hasSession(kid) then position = head() else position = addSession(kid, a[2], a[3]) end
  local fields = call('HMGET', key('s:' .. kid), 'number', 'created', 'seq', 'sent', 'n', 'b')
  fields[7] = position
  return fields
end

-- session-remove <kid> <claim> <number>: of that number only, and all that belongs to it. Reply: 0, position of the log;
-- or 3: a shared group that has members.
ops['session-remove'] = function(a)
  local kid = a[1]
  if not mayWrite(kid, a[2]) then return refused(kid) end
  if call('HGET', key('s:' .. kid), 'number') ~= a[3] then return { 0, head() } end
  if string.byte(kid) == 103 and call('EXISTS', key('gm:' .. string.sub(kid, 2))) == 1 then return { 3 } end
  return { 0, removeSession(kid) }
end

-- session-connected <kid> <claim> <expiry interval, s, or empty>: it does not expire. Reply: 0.
ops['session-connected'] = function(a)
  local kid = a[1]
  if not mayWrite(kid, a[2]) then return refused(kid) end
  if hasSession(kid) then
    call('HSET', key('s:' .. kid), 'expires', 0)
    setExpiry(kid, a[3])
    call('ZREM', key('expiry'), kid)
  end
  return { 0 }
end

-- session-disconnected <kid> <claim> <expires, ms> <sent up to>: its time away begins. Reply: 0.
ops['session-disconnected'] = function(a)
  local kid, skey = a[1], key('s:' .. a[1])
  if not mayWrite(kid, a[2]) then return refused(kid) end
  if not hasSession(kid) then return { 0 } end
  local sent = math.max(tonumber(a[4]), tonumber(call('HGET', skey, 'sent') or 0))
  call('HSET', skey, 'expires', a[3], 'sent', text(sent))
  if a[3] ~= '0' then call('ZADD', key('expiry'), a[3], kid) else call('ZREM', key('expiry'), kid) end
  return { 0 }
end

local function isInGroup(fkey, group)
  for _, subscription in ipairs(call('HVALS', fkey)) do
    if sharedGroupOf(subscription) == group then return true end
  end
  return false
end

-- subscriptions <kid> <claim> and for each: <filter> <version byte and JSON, empty: remove> <key of its shared group, or empty>
-- <number for the group's session, if it is new>. Reply: 0, position of the log that has them.
ops['subscriptions'] = function(a)
  local kid, fkey = a[1], key('f:' .. a[1])
  if not mayWrite(kid, a[2]) then return refused(kid) end
  if #a < 3 or not hasSession(kid) then return { 0, head() } end
  local member = 's' .. string.sub(kid, 2)
  local filters = {}
  for i = 3, #a, 4 do filters[#filters + 1] = a[i] end
  local before = {}
  for from = 1, #filters, 1000 do
    local part = call('HMGET', fkey, unpack(filters, from, math.min(#filters, from + 999)))
    for index, subscription in ipairs(part) do before[from + index - 1] = subscription end
  end
  local decoded = {}
  for i = 3, #a, 4 do decoded[i] = a[i + 1] ~= '' and cjson.decode(string.sub(a[i + 1], 2)) or cjson.null end
  local changes = {}
  for index, filter in ipairs(filters) do
    local i = 3 + (index - 1) * 4
    local value, group = a[i + 1], a[i + 2]
    if (before[index] or '') ~= value then
      local old = sharedGroupOf(before[index])
      if value == '' then call('HDEL', fkey, filter) else call('HSET', fkey, filter, value) end
      if group ~= '' then joinGroup(group, member, a[i + 3]) end
      if old and old ~= group and not isInGroup(fkey, old) then leaveGroup(old, member) end
      changes[#changes + 1] = { filter, decoded[i] }
    end
  end
  if #changes == 0 then return { 0, head() } end
  return { 0, log('subscription', kid, changes) }
end
