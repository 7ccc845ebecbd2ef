-- Shared subscriptions that have connected members at this pod.
-- Arguments: for each group `1` or `0` (members or none), its key, its match filter. Effect: groups:<pod>, and the
-- pod as a member in gm:<key>; an entry `group` for each change; leases of who has none are free again. Reply: count of changes.
ops['group'] = function(a)
  local groups = key('groups:' .. pod)
  local count = 0
  for index = 1, #a, 3 do
    local joined, group, filter = a[index] == '1', a[index + 1], a[index + 2]
    local known = call('HGET', groups, group)
    if joined and known ~= filter then
      call('HSET', groups, group, filter)
      call('SADD', key('gm:' .. group), 'p' .. pod)
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
