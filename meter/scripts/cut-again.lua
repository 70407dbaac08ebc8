#!lua
-- Begins an open cut again at the present cursors: its moment was missed, or the shard was repaired.
-- KEYS    1 state, 2 cuts, 3 waiting, 4 used
-- ARGV    1 build, 2 generation, 3 cut, 4 'consumer' or 'repair'
-- Returns {'refused', why} or {'ok'}; 'ok' as well when the cut is gone
if ARGV[4] == 'repair' then
  if not repairs(KEYS[1], ARGV[2]) then return { 'refused', 'overtaken' } end
else
  local refused = refusal(KEYS[1], ARGV[1], ARGV[2])
  if refused then return { 'refused', refused } end
end
local text = redis.call('HGET', KEYS[2], ARGV[3])
if not text then return { 'ok' } end
local cut = cjson.decode(text)

begin_writing(KEYS[1])
local keys = { state = KEYS[1], cuts = KEYS[2], waiting = KEYS[3], used = KEYS[4] }
zero_windows(keys.used, cut.counters)
remove_cut(keys, cut)
place_cut(keys, cut.customerId, cut.counters)
end_writing(KEYS[1])
return { 'ok' }
