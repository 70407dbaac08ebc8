#!lua
-- Opens a repaired shard. One built from empty is flipped in here, last of all. It stands at the ledger's cursors, which may
-- lie before those of the state it replaces: up to when it has counted is not known until its consumers tell.
-- KEYS    1 state
-- ARGV    1 generation, 2 latest generation of marks ('' keeps it), 3 first generation of marks ('' keeps it),
--         then, for a shard built from empty, the cursor of each partition
-- Returns {'refused', why} or {'ok'}
if not repairs(KEYS[1], ARGV[1]) then return { 'refused', 'overtaken' } end
local stand = redis.call('HMGET', KEYS[1], 'building', 'dirty')
if #ARGV > 3 then
  if stand[1] ~= ARGV[1] then return { 'refused', 'not built' } end
  redis.call('HSET', KEYS[1], 'build', ARGV[1], 'layout', LAYOUT, 'markMax', ARGV[2], 'marksFrom', ARGV[3], 'dirty', '0')
  for i = 4, #ARGV do
    redis.call('HSET', KEYS[1], 'cursor:' .. (i - 4), ARGV[i])
    redis.call('HDEL', KEYS[1], 'countedUpTo:' .. (i - 4))
  end
elseif stand[1] or half_written(stand[2]) then
  return { 'refused', 'half built' }
end
redis.call('HDEL', KEYS[1], 'building', 'repairRun')
redis.call('HSET', KEYS[1], 'runId', run_id(), 'repairing', '0')
return { 'ok' }
