-- What receivers do to queues: acknowledge, PUBREC, PUBREL, and leases of shared groups.

-- acknowledge <kid> <claim> <payload bytes> <count of the first> <released entries...> <entries...>, all by sequence
-- number: forgotten. Reply: 0, how many were there.
ops['acknowledge'] = function(a)
  local kid = a[1]
  if not mayWrite(kid, a[2]) then return refused(kid) end
  local released = tonumber(a[4])
  local count = 0
  if released > 0 then count = call('ZREM', key('r:' .. kid), unpack(a, 5, 4 + released)) end
  if #a > 4 + released then
    local ids = {}
    for i = 5 + released, #a do ids[#ids + 1] = a[i] .. '-0' end
    count = count + call('XDEL', key('q:' .. kid), unpack(ids))
  end
  if count > 0 then takeOut(kid, count, tonumber(a[3])) end
  return { 0, count }
end

-- release <kid> <claim> <entry> <payload bytes>: its message goes, its number stays. Reply: 0.
ops['release'] = function(a)
  local kid = a[1]
  if not mayWrite(kid, a[2]) then return refused(kid) end
  if call('XDEL', key('q:' .. kid), a[3] .. '-0') == 1 then
    call('ZADD', key('r:' .. kid), a[3], a[3])
    takeOut(kid, 0, tonumber(a[4]))
  end
  return { 0 }
end

-- release-incoming <kid> <claim> <QoS 2 identifier>: it may be used again. Reply: 0.
ops['release-incoming'] = function(a)
  if not mayWrite(a[1], a[2]) then return refused(a[1]) end
  call('SREM', key('i:' .. a[1]), a[3])
  return { 0 }
end

-- lease <group> <entries at most> <about so many payload bytes, and one entry at least>: for members at this pod.
-- Reply: sequence number and entry, in turn.
ops['lease'] = function(a)
  local group, left, leftBytes = a[1], tonumber(a[2]), tonumber(a[3])
  local free, leases, queue = key('gr:' .. group), key('gl:' .. group), key('q:g' .. group)
  local reply = {}
  for _, seq in ipairs(call('ZRANGE', free, 0, left - 1)) do
    local found = call('XRANGE', queue, seq .. '-0', seq .. '-0')[1]
    local value = found and found[2][2]
    local bytes = value and countedBytes(value, 1 + ENTRY_HEAD_BYTES) or 0
    if value and #reply > 0 and bytes > leftBytes then break end
    call('ZREM', free, seq)
    if value then
      call('HSET', leases, seq, pod)
      reply[#reply + 1] = tonumber(seq)
      reply[#reply + 1] = value
      leftBytes = leftBytes - bytes
    end
  end
  return reply
end

-- The ones of these that this pod has leased, which it has no more.
local function returned(group, seqs)
  local leases = key('gl:' .. group)
  local holders = call('HMGET', leases, unpack(seqs))
  local held = {}
  for index, seq in ipairs(seqs) do
    if holders[index] == pod then held[#held + 1] = seq end
  end
  if #held > 0 then call('HDEL', leases, unpack(held)) end
  return held
end

-- give-back <group> <entries...>: leased to this pod, and free again. Reply: 0.
ops['give-back'] = function(a)
  local group = a[1]
  local held = returned(group, { unpack(a, 2) })
  if #held > 0 and hasSession('g' .. group) then fillGroup(group, held) end
  return { 0 }
end

-- acknowledge-leased <group> <count> <entries...> <payload bytes of each...>: forgotten, if they are leased to this pod.
-- Reply: 0.
ops['acknowledge-leased'] = function(a)
  local group, count = a[1], tonumber(a[2])
  local seqs, bytesOf = {}, {}
  for i = 1, count do
    seqs[i] = a[2 + i]
    bytesOf[a[2 + i]] = tonumber(a[2 + count + i])
  end
  local held = returned(group, seqs)
  if #held == 0 then return { 0 } end
  local ids, bytes = {}, 0
  for index, seq in ipairs(held) do
    ids[index] = seq .. '-0'
    bytes = bytes + bytesOf[seq]
  end
  takeOut('g' .. group, call('XDEL', key('q:g' .. group), unpack(ids)), bytes)
  return { 0 }
end
