#!lua
-- Takes a shard for its repairer; from here on it refuses everyone else. A state that only lags will be rolled forward in
-- place; none, a half-written one, one of another layout or one that was never finished is built from empty, under the keys of a new build.
-- KEYS    1 state
-- ARGV    1 generation, 2 partitions, 3 'empty' to build it from empty whatever there is, else ''
-- Returns {'refused', why} or {'roll-forward', build, cursor of each partition …} or {'build', build}
local state = redis.call('HMGET', KEYS[1], 'generation', 'build', 'dirty', 'building', 'layout')
if state[1] and tonumber(state[1]) >= tonumber(ARGV[1]) then return { 'refused', 'overtaken' } end
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'repairing', '1', 'repairRun', run_id(), 'partitions', ARGV[2])
if not state[2] or half_written(state[3]) or state[4] or state[5] ~= LAYOUT or ARGV[3] == 'empty' then
  redis.call('HSET', KEYS[1], 'building', ARGV[1])
  return { 'build', ARGV[1] }
end
local reply = { 'roll-forward', state[2] }
for p = 0, tonumber(ARGV[2]) - 1 do reply[p + 3] = redis.call('HGET', KEYS[1], 'cursor:' .. p) or '0' end
return reply
