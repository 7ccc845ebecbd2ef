-- Shared subscriptions that have connected members at this pod.
-- Arguments: for each group `1` or `0` (members or none), its key, its match filter. Effect: groups:<pod>, and the
-- pod as a member in gm:<key>, with the queue if there is none; an entry `group` for each change. Who has come hears of
-- what waits, as it was told to others only; leases of who has none are free again. Reply: count of changes.
ops['group'] = function(a)
  local groups = key('groups:' .. pod)
  local count = 0
  for index = 1, #a, 3 do
    local joined, group, filter = a[index] == '1', a[index + 1], a[index + 2]
    local known = call('HGET', groups, group)
    if joined and known ~= filter then
      call('HSET', groups, group, filter)
      -- As many digits as the numbers that pods draw (session.ts).
      joinGroup(group, 'p' .. pod, text(1e13 + call('INCR', key('fence'))))
      if call('EXISTS', key('gr:' .. group)) == 1 then inbox(pod, { 'filled', group }) end
      log('group', group, filter, 1)
      count = count + 1
    elseif not joined and known then
      call('HDEL', groups, group)
      -- Nobody here can take what is still on its way; and who has left is not asked for it when this pod dies.
      freeLeases(pod, group)
      leaveGroup(group, 'p' .. pod)
      log('group', group, known, 0)
      count = count + 1
    end
  end
  return count
end
