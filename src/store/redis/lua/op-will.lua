-- Wills whose clients have not come back. A will is removed by the write that publishes it (op-publish.lua), or by the
-- claim of its client.

-- due-wills <count> <loan, ms>: wills that are due and whose client id nobody owns; they are due again after the loan.
-- Reply: session id and `<claim>:<message>`, in turn.
ops['due-wills'] = function(a)
  local now = nowMs()
  local ids = call('ZRANGEBYSCORE', key('willdue'), '-inf', now, 'LIMIT', 0, a[1])
  local due = {}
  for _, id in ipairs(ids) do
    local will = call('HGET', key('wills'), id)
    if not will or ownerOf(id) then
      call('ZREM', key('willdue'), id)
    else
      call('ZADD', key('willdue'), now + tonumber(a[2]), id)
      due[#due + 1] = id
      due[#due + 1] = will
    end
  end
  return due
end

-- drop-will <session id> <value>: what is there is not a will. Reply: 1, or 0: it is another by now.
ops['drop-will'] = function(a)
  if call('HGET', key('wills'), a[1]) ~= a[2] then return 0 end
  call('HDEL', key('wills'), a[1])
  call('ZREM', key('willdue'), a[1])
  return 1
end
