-- One publish: queues, retained value, QoS 2 identifier, will and inboxes in one write.

-- Sets or clears a retained value. Answers the position of the log, 0: nothing has changed; and 1 if the value was not
-- kept because a bound was reached (the old one goes: it would be handed out as if it were the latest).
local function retain(topic, value, bytes, expiry, maxCount, maxBytes)
  local retained = key('retained')
  local old = call('HGET', retained, topic)
  local oldBytes = old and countedBytes(old, 1) or 0
  local isEmpty = payloadBytes(value, 1) == 0
  local sum = tonumber(call('GET', key('retainedbytes')) or 0) - oldBytes
  if not isEmpty and (old or call('HLEN', retained) < maxCount) and sum + bytes <= maxBytes then
    call('HSET', retained, topic, value)
    call('SET', key('retainedbytes'), text(sum + bytes))
    if expiry > 0 then call('ZADD', key('rexpiry'), expiry, topic)
    elseif old then call('ZREM', key('rexpiry'), topic) end
    return log('retained', topic), 0
  end
  local isDropped = isEmpty and 0 or 1
  if not old then return 0, isDropped end
  call('HDEL', retained, topic)
  call('SET', key('retainedbytes'), text(math.max(0, sum)))
  call('ZREM', key('rexpiry'), topic)
  return log('retained', topic), isDropped
end

-- Bounds, as text, are the same in all publishes of a pod.
local limits = {}
local function limitsIn(words)
  if not limits[words] then
    local numbers = {}
    for word in string.gmatch(words, '%d+') do numbers[#numbers + 1] = tonumber(word) end
    limits[words] = numbers
  end
  return limits[words]
end

local ANY_NUMBER = string.rep('0', 14)

-- What most publishes do not have: see the op.
local function optionsIn(a)
  local options = {}
  local i = 5
  while a[i] ~= '-' do
    local count = a[i] == 'p' and 1 + tonumber(a[i + 1]) or a[i] == 'r' and 1 or a[i] == 'w' and 2 or 3
    options[a[i]] = i + 1
    i = i + 1 + count
  end
  return options, i
end

-- publish <entry> <what the message counts for, bytes> <expires, ms> <bounds: messages and bytes of a queue, of all retained values>
-- then, if it has them, `r` <topic to retain>, `i` <kid of the publisher's session> <its claim> <QoS 2 identifier>,
-- `w` <session id whose will this is> <number of that will>, `p` <count> <pods that have connected receivers...>,
-- then `-`, and for each target: <QoS, and 2 more if exempt from the bound by count, then 14 digits: the number of the
-- session, 0: whatever it is; then the kid>
-- Reply: 1 nothing written: the identifier was taken, or the will is gone; 2 or 4: the publisher's claim is lost; or 0,
-- position of the log if the retained value has changed, 1 if that was not kept, then for each target its sequence
-- number, 0: dropped at a bound, -1: there is no such session; below that: the sequence number, less one, and negative:
-- a connection at another pod has it.
ops['publish'] = function(a)
  local entry, bytes, expiry, bounds = a[1], tonumber(a[2]), tonumber(a[3]), limitsIn(a[4])
  local options, last = optionsIn(a)
  local message = string.sub(entry, ENTRY_HEAD_BYTES + 1)
  local will, publisher, arrivals = options.w, options.i, nil
  if will then
    local found = call('HGET', key('wills'), a[will])
    local number = a[will + 1] .. ':'
    if not found or string.sub(found, 1, #number) ~= number then return { 1 } end
  end
  if publisher then
    local kid = a[publisher]
    if not mayWrite(kid, a[publisher + 1]) then return refused(kid) end
    if hasSession(kid) and call('SADD', key('i:' .. kid), a[publisher + 2]) == 0 then return { 1 } end
  end
  if will then
    call('HDEL', key('wills'), a[will])
    call('ZREM', key('willdue'), a[will])
  end
  if options.p then
    arrivals = {}
    for i = options.p + 1, options.p + tonumber(a[options.p]) do arrivals[a[i]] = { 1, {} } end
  end

  local entryAt2
  local reply = { 0, 0, 0 }
  for i = last + 1, #a do
    local mark = string.byte(a[i]) - 48
    local qos = mark > 2 and mark - 2 or mark
    local number, kid = string.sub(a[i], 2, 15), string.sub(a[i], 16)
    local queue = queueOf(kid)
    -- One of the same name that came later has not asked for it.
    if queue and queue.number ~= number and number ~= ANY_NUMBER then queue = false end
    local seq = -1
    if queue and ((queue.n >= bounds[1] and mark <= 2) or queue.b + bytes > bounds[2]) then
      seq = 0
    elseif queue then
      seq = queue.seq + 1
      queue.seq, queue.n, queue.b, queue.isChanged = seq, queue.n + 1, queue.b + bytes, true
      if qos == 2 and not entryAt2 then entryAt2 = string.sub(entry, 1, 2) .. '\2' .. message end
      enqueue(kid, seq, qos == 2 and entryAt2 or entry)
      if expiry > 0 then call('ZADD', key('qexpiry'), 'LT', a[3], kid) end
      if string.byte(kid) == 103 then
        fillGroup(string.sub(kid, 2), { text(seq) })
      else
        local owner = claimOf(string.sub(kid, 2))
        owner = owner and string.match(owner, ':(.*)$')
        if owner and owner ~= pod then
          arrivals = arrivals or {}
          arrivals[owner] = arrivals[owner] or { 0, {} }
          local entries = arrivals[owner][2]
          entries[#entries + 1] = { kid, seq, qos }
          seq = -1 - seq
        end
      end
    end
    reply[#reply + 1] = seq
  end
  if arrivals then
    for owner, arrival in pairs(arrivals) do inbox(owner, { 'message', arrival[1], arrival[2] }, message) end
  end
  if options.r then reply[2], reply[3] = retain(a[options.r], message, bytes, expiry, bounds[3], bounds[4]) end
  return reply
end
