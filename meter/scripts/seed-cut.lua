#!lua
-- Adds a chunk of what a partition's ledger held before a cut. Once: only while the partition's progress is the one expected.
-- KEYS    1 state, 2 cuts, 3 waiting, 4 used
-- ARGV    1 build, 2 generation, 3 partition, 4 cut, 5 progress expected, 6 'more' or 'last', 7 progress afterwards,
--         8 amounts (JSON: [[counter id, start quarter, subject, amount], …])
-- Returns {'refused', why} or {'ok'}; 'ok' as well when the cut is gone or its progress is another
local refused = refusal(KEYS[1], ARGV[1], ARGV[2])
if refused then return { 'refused', refused } end
local keys = { state = KEYS[1], cuts = KEYS[2], waiting = KEYS[3], used = KEYS[4] }
local mine = ARGV[4] .. ':' .. ARGV[3]
if not redis.call('ZSCORE', keys.waiting, mine) or (redis.call('HGET', keys.cuts, mine) or '') ~= ARGV[5] then return { 'ok' } end
local cut = cjson.decode(redis.call('HGET', keys.cuts, ARGV[4]))
local counters = {}
for _, counter in ipairs(cut.counters) do counters[counter.id] = counter end
local additions = {} -- flat: field, amount
for _, one in ipairs(cjson.decode(ARGV[8])) do
  local counter = counters[one[1]]
  if not counter then return redis.error_reply('ERR cut ' .. cut.id .. ' has no counter ' .. one[1]) end
  -- Of a rolling counter nothing is kept from before its window.
  if counter.rollingHours == 0 or one[2] >= counter.windows[1][1] then
    additions[#additions + 1] = field_of(counter.n, whole(one[2]), one[3])
    additions[#additions + 1] = one[4]
  end
end

begin_writing(keys.state)
for i = 1, #additions, 2 do add(keys.used, additions[i], additions[i + 1]) end
if ARGV[6] == 'more' then
  redis.call('HSET', keys.cuts, mine, ARGV[7])
else
  redis.call('ZREM', keys.waiting, mine)
  local waiting = false
  for p = 0, #cut.at - 1 do
    if redis.call('ZSCORE', keys.waiting, cut.id .. ':' .. p) then waiting = true end
  end
  if not waiting then remove_cut(keys, cut) end
end
end_writing(keys.state)
return { 'ok' }
