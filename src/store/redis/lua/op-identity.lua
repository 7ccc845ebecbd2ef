-- Identities, groups and roles: one write of a few records, if nobody was faster.

-- identities <revision that it is made on> and for each record: <field> <value, empty: delete> <its JSON>
-- Reply: 0, the new revision, position of the log that has it; or 1, the revision there is, position of the log.
ops['identities'] = function(a)
  local revision = tonumber(call('GET', key('identityrev')) or 0)
  if revision ~= tonumber(a[1]) then return { 1, revision, head() } end
  revision = revision + 1
  call('SET', key('identityrev'), text(revision))
  local records = {}
  for i = 2, #a, 3 do
    if a[i + 1] == '' then call('HDEL', key('identities'), a[i])
    else call('HSET', key('identities'), a[i], a[i + 1]) end
    records[#records + 1] = { a[i], a[i + 1] == '' and cjson.null or a[i + 2] }
  end
  return { 0, revision, log('identity', text(revision), records) }
end
