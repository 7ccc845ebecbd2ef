-- One publish: queues, retained value, QoS 2 identifier, will and inboxes in one write.

-- Sets or clears a retained value. Answers the position of the log, 0: nothing has changed; and 1 if the value was not
-- kept because a bound was reached (the old one goes: it would be handed out as if it were the latest).
local function retain(topic, value, bytes, expiry, maxCount, maxBytes)
  local retained = key('retained')
  local old = call('HGET', retained, topic)
  local oldBytes = old and payloadBytes(old, 1) or 0
  local sum = tonumber(call('GET', key('retainedbytes')) or 0) - oldBytes
  if bytes > 0 and (old or call('HLEN', retained) < maxCount) and sum + bytes <= maxBytes then
    call('HSET', retained, topic, value)
    call('SET', key('retainedbytes'), text(sum + bytes))
    if expiry > 0 then call('ZADD', key('rexpiry'), expiry, topic)
    elseif old then call('ZREM', key('rexpiry'), topic) end
    return log('retained', topic), 0
  end
  local isDropped = bytes > 0 and 1 or 0
  if not old then return 0, isDropped end
  call('HDEL', retained, topic)
  call('SET', key('retainedbytes'), text(math.max(0, sum)))
  call('ZREM', key('rexpiry'), topic)
  return log('retained', topic), isDropped
end

-- publish <entry> <payload bytes> <expires, ms> <queue: messages, bytes at most> <retained: messages, bytes at most>
-- <topic to retain, or empty> <kid of the publisher's session, or empty> <its claim> <QoS 2 identifier>
-- <session id whose will this is, or empty> <number of that will> <count of pods, and the pods that have connected
-- receivers> and for each target: <QoS, and 2 more if exempt from the bound by count, then the kid>
-- Reply: 1 nothing written: the identifier was taken, or the will is gone; 2: the publisher's claim is lost; or 0,
-- position of the log if the retained value has changed, 1 if that was not kept, then for each target its sequence
-- number, 0: dropped at a bound, -1: there is no such session.
ops['publish'] = function(a)
  local entry, bytes, expiry = a[1], tonumber(a[2]), tonumber(a[3])
  local maxCount, maxBytes = tonumber(a[4]), tonumber(a[5])
  local topic, publisher, willOf = a[8], a[9], a[12]
  if willOf ~= '' then
    local will = call('HGET', key('wills'), willOf)
    if not will or string.sub(will, 1, #a[13] + 1) ~= a[13] .. ':' then return { 1 } end
  end
  if publisher ~= '' then
    if not mayWrite(publisher, a[10]) then return { 2 } end
    if hasSession(publisher) and call('SADD', key('i:' .. publisher), a[11]) == 0 then return { 1 } end
  end
  if willOf ~= '' then
    call('HDEL', key('wills'), willOf)
    call('ZREM', key('willdue'), willOf)
  end

  local arrivals
  local podCount = tonumber(a[14])
  for i = 15, 14 + podCount do
    arrivals = arrivals or {}
    arrivals[a[i]] = { 1, {} }
  end
  local entryAt2
  local reply = { 0, 0, 0 }
  for i = 15 + podCount, #a do
    local target = a[i]
    local mark = string.byte(target) - 48
    local qos = mark > 2 and mark - 2 or mark
    local kid = string.sub(target, 2)
    local skey = key('s:' .. kid)
    local s = call('HMGET', skey, 'seq', 'n', 'b')
    local seq = -1
    if s[1] then
      local n, b = tonumber(s[2]), tonumber(s[3])
      if (n >= maxCount and mark <= 2) or b + bytes > maxBytes then
        seq = 0
      else
        seq = tonumber(s[1]) + 1
        local number = text(seq)
        call('HSET', skey, 'seq', number, 'n', n + 1, 'b', text(b + bytes))
        local value = entry
        if qos == 2 then
          entryAt2 = entryAt2 or string.sub(entry, 1, 2) .. '\2' .. string.sub(entry, 4)
          value = entryAt2
        end
        call('XADD', key('q:' .. kid), number .. '-0', 'e', value)
        if expiry > 0 then call('ZADD', key('qexpiry'), 'LT', a[3], kid) end
        if string.byte(kid) == 103 then
          fillGroup(string.sub(kid, 2), { number })
        else
          local _, owner = ownerOf(string.sub(kid, 2))
          if owner and owner ~= pod then
            arrivals = arrivals or {}
            local at = arrivals[owner]
            if not at then
              at = { 0, {} }
              arrivals[owner] = at
            end
            at[2][#at[2] + 1] = { kid, seq, qos }
          end
        end
      end
    end
    reply[#reply + 1] = seq
  end
  if arrivals then
    local message = string.sub(entry, ENTRY_HEAD_BYTES + 1)
    for owner, at in pairs(arrivals) do inbox(owner, { 'message', at[1], at[2] }, message) end
  end
  if topic ~= '' then
    reply[2], reply[3] =
      retain(topic, string.sub(entry, ENTRY_HEAD_BYTES + 1), bytes, expiry, tonumber(a[6]), tonumber(a[7]))
  end
  return reply
end
