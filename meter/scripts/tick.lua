#!lua
-- The consumer's sign of life: forgets verdicts that the ledger has passed, renews the time up to which all is counted.
-- KEYS    1 state, 2 verdicts of the partition, 3 cuts, 4 waiting
-- ARGV    1 build, 2 generation, 3 partition, 4 cursor expected, 5 ledger cursor, 6 counted up to (ms) or ''
-- Returns {'refused', why} or {'ok', the least time to which every partition is counted (ms), marksFrom, cuts (flat: text, progress, …)}
local refused = refusal(KEYS[1], ARGV[1], ARGV[2])
if refused then return { 'refused', refused } end
local stand = redis.call('HMGET', KEYS[1], 'cursor:' .. ARGV[3], 'countedUpTo:' .. ARGV[3], 'partitions', 'marksFrom')
if (stand[1] or '0') ~= ARGV[4] then return { 'refused', 'cursor' } end
begin_writing(KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 1 then
  for _, offset in ipairs(redis.call('HKEYS', KEYS[2])) do
    if tonumber(offset) < tonumber(ARGV[5]) then redis.call('HDEL', KEYS[2], offset) end
  end
end
if ARGV[6] ~= '' and tonumber(ARGV[6]) > tonumber(stand[2] or 0) then
  redis.call('HSET', KEYS[1], 'countedUpTo:' .. ARGV[3], ARGV[6])
end
end_writing(KEYS[1])
local least = nil
for p = 0, tonumber(stand[3]) - 1 do
  local time = tonumber(redis.call('HGET', KEYS[1], 'countedUpTo:' .. p) or 0)
  if not least or time < least then least = time end
end
return { 'ok', whole(least), stand[4] or '0', cuts_for(KEYS[3], KEYS[4], ARGV[3]) }
