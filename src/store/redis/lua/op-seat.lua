-- Ends of tunnels that are connected to this pod.
-- Arguments: for each seat its key, its JSON or an empty text (it has left), the reason. Effect: seats:<pod>; an entry
-- `seat` for each change. Reply: count of changes.
ops['seat'] = function(a)
  local seats = key('seats:' .. pod)
  local count = 0
  for index = 1, #a, 3 do
    local seat, json, reason = a[index], a[index + 1], a[index + 2]
    if json == '' then
      if call('HDEL', seats, seat) == 1 then
        log('seat', seat, cjson.null, reason)
        count = count + 1
      end
    elseif call('HGET', seats, seat) ~= json then
      call('HSET', seats, seat, json)
      log('seat', seat, json, '')
      count = count + 1
    end
  end
  return count
end
