-- kick <session id>: asks the pod that owns it to end its connection, by its number: a later one is not meant.
-- Reply: 1, or 0: it has no connection.
ops['kick'] = function(a)
  local number, owner = ownerOf(a[1])
  if not number or not isMember(owner) then return 0 end
  inbox(owner, { 'kick', a[1], number })
  return 1
end
