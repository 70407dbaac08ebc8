#!lua
-- Opens a repaired shard. One built from empty is flipped in here, last of all.
-- KEYS    1 state
-- ARGV    1 generation, 2 latest generation of marks ('' keeps it), 3 first generation of marks ('' keeps it),
--         then, for a shard built from empty, the cursor of each partition
-- Returns {'refused', why} or {'ok', the build that is no longer in force or ''}
if not repairs(KEYS[1], ARGV[1]) then return { 'refused', 'overtaken' } end
local old = ''
if #ARGV > 3 then
  old = redis.call('HGET', KEYS[1], 'build') or ''
  redis.call('HSET', KEYS[1], 'build', ARGV[1], 'markMax', ARGV[2], 'marksFrom', ARGV[3], 'dirty', '0')
  for i = 4, #ARGV do redis.call('HSET', KEYS[1], 'cursor:' .. (i - 4), ARGV[i]) end
end
redis.call('HDEL', KEYS[1], 'building', 'repairRun')
redis.call('HSET', KEYS[1], 'runId', run_id(), 'repairing', '0')
return { 'ok', old }
