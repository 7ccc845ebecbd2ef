#!lua flags=no-writes
-- Reads a part of a queue, bounded here, so that 200 messages of 1 MB are not fetched to use one.
-- ARGV: pod, kid, after this sequence number, entries at most, payload bytes at most (one entry at least), claim of the
-- reader, 0: none.
-- Reply: sequence number and entry, in turn; an integer 0 in place of an entry: released, its message is gone. Or 2
-- alone: another holds the claim, and delivers what is here.

if ARGV[6] ~= '0' then
  local owner = claimOf(string.sub(ARGV[2], 2))
  if owner and owner ~= ARGV[6] .. ':' .. pod then return { 2 } end
end
local kid, left, leftBytes = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local reply = {}
local released = call('ZRANGEBYSCORE', key('r:' .. kid), '(' .. ARGV[3], '+inf', 'LIMIT', 0, left)
local nextReleased = 1

-- Those before this one come first.
local function takeReleased(before)
  while left > 0 and released[nextReleased] and tonumber(released[nextReleased]) < before do
    reply[#reply + 1] = tonumber(released[nextReleased])
    reply[#reply + 1] = 0
    nextReleased = nextReleased + 1
    left = left - 1
  end
end

-- What is above the last number is not ours.
local last = call('HGET', key('s:' .. kid), 'seq')
local from, to = '(' .. ARGV[3] .. '-0', (last or '0') .. '-0'
local portion, isFull = 8, false
while left > 0 and not isFull do
  local asked = math.min(left, portion)
  local found = call('XRANGE', key('q:' .. kid), from, to, 'COUNT', asked)
  local foundBytes = 0
  for _, one in ipairs(found) do
    local seq, value = seqOf(one[1]), one[2][2] or ''
    local bytes = countedBytes(value, 1 + ENTRY_HEAD_BYTES)
    foundBytes = foundBytes + bytes
    takeReleased(seq)
    if left == 0 or (#reply > 0 and bytes > leftBytes) then
      isFull = true
      break
    end
    reply[#reply + 1] = seq
    reply[#reply + 1] = value
    left = left - 1
    leftBytes = leftBytes - bytes
  end
  if #found < asked then break end
  from = '(' .. found[#found][1]
  portion = math.max(1, math.min(1000, math.floor(#found * leftBytes / math.max(foundBytes, 1)) + 1, portion * 8))
end
if not isFull then takeReleased(math.huge) end
return reply
