-- What has an end, in portions. Times are those of the pod that asks.

-- expire-sessions <now, ms> <at most>: of clients that did not come back. Reply: how many were looked at, how many have
-- ended, position of the log.
ops['expire-sessions'] = function(a)
  local kids = call('ZRANGEBYSCORE', key('expiry'), '-inf', a[1], 'LIMIT', 0, a[2])
  local ended = 0
  for _, kid in ipairs(kids) do
    if ownerOf(string.sub(kid, 2)) or not hasSession(kid) then
      call('ZREM', key('expiry'), kid)
    else
      removeSession(kid)
      ended = ended + 1
    end
  end
  return { #kids, ended, head() }
end

-- expire-retained <now, ms> <at most>. Reply: how many were looked at, position of the log.
ops['expire-retained'] = function(a)
  local topics = call('ZRANGEBYSCORE', key('rexpiry'), '-inf', a[1], 'LIMIT', 0, a[2])
  for _, topic in ipairs(topics) do
    local value = call('HGET', key('retained'), topic)
    call('ZREM', key('rexpiry'), topic)
    if value then
      call('HDEL', key('retained'), topic)
      call('DECRBY', key('retainedbytes'), countedBytes(value, 1))
      log('retained', topic)
    end
  end
  return { #topics, head() }
end

-- expire-entries <kid> <now, ms> <after this entry> <entries at most> <earliest expiry seen so far; 0: none>: of a queue
-- that nobody is connected to, and none that may have been sent.
-- Reply: -1 somebody is connected; or last entry looked at, 0 at the end of the queue; count and payload bytes of those taken out; earliest expiry
-- of those that stay.
ops['expire-entries'] = function(a)
  local kid, now, earliest = a[1], tonumber(a[2]), tonumber(a[5])
  local queue = key('q:' .. kid)
  local isGroup = string.byte(kid) == 103
  if not isGroup and ownerOf(string.sub(kid, 2)) then return { -1 } end
  local sent = tonumber(call('HGET', key('s:' .. kid), 'sent') or 0)
  local after = math.max(tonumber(a[3]), sent)
  local found = call('XRANGE', queue, '(' .. text(after) .. '-0', '+', 'COUNT', a[4])
  local count, bytes, last = 0, 0, 0
  for _, one in ipairs(found) do
    last = seqOf(one[1])
    local expiry = expiryOf(one[2][2] or '', 1 + ENTRY_HEAD_BYTES)
    local isLent = isGroup and call('ZSCORE', key('gr:' .. string.sub(kid, 2)), text(last)) == false
    if expiry > 0 and expiry <= now and not isLent then
      bytes = bytes + countedBytes(one[2][2], 1 + ENTRY_HEAD_BYTES)
      count = count + 1
      call('XDEL', queue, one[1])
      if isGroup then call('ZREM', key('gr:' .. string.sub(kid, 2)), text(last)) end
    elseif expiry > 0 and (earliest == 0 or expiry < earliest) then
      earliest = expiry
    end
  end
  if count > 0 then takeOut(kid, count, bytes) end
  if #found < tonumber(a[4]) then
    last = 0
    -- Those that may have been sent are the owner's to let go of; so this is looked at again when they could be.
    if earliest > 0 then call('ZADD', key('qexpiry'), math.max(earliest, now + 1), kid) else call('ZREM', key('qexpiry'), kid) end
  end
  return { last, count, bytes, text(earliest) }
end
