#!lua
-- Where a partition stands in a shard, for a consumer that begins.
-- KEYS    1 state, 2 verdicts of the partition, 3 cuts, 4 waiting
-- ARGV    1 build, 2 generation, 3 partition
-- Returns {'refused', why} or {'ok', cursor, markMax, verdicts (flat: offset, code, …), cuts (flat: text, progress, …)}
local refused = refusal(KEYS[1], ARGV[1], ARGV[2])
if refused then return { 'refused', refused } end
local state = redis.call('HMGET', KEYS[1], 'cursor:' .. ARGV[3], 'markMax')
return { 'ok', state[1] or '0', state[2] or '0', redis.call('HGETALL', KEYS[2]), cuts_for(KEYS[3], KEYS[4], ARGV[3]) }
