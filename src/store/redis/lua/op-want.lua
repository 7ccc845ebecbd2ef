-- What the connected sessions of this pod have subscribed to, and where the log is. Entries of the log only for what
-- is a change: whatever is told twice costs nothing.

-- Arguments: for each filter `1` or `0` (wanted or not) and the filter. Effect: wants:<pod>; one entry `want`.
-- Reply: count of changes.
ops['want'] = function(a)
  local wants = key('wants:' .. pod)
  local changes = {}
  for index = 1, #a, 2 do
    local wanted = a[index] == '1'
    if call(wanted and 'SADD' or 'SREM', wants, a[index + 1]) == 1 then
      changes[#changes + 1] = { a[index + 1], wanted and 1 or 0 }
    end
  end
  if #changes > 0 then log('want', changes) end
  return #changes
end

-- No arguments. Reply: the last position of the log, with all that was written before in this batch.
ops['position'] = function()
  return tonumber(call('GET', key('logpos')) or 0)
end
