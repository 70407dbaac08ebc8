#!lua
-- Which customers of a shard under repair have older limits than they should, or none.
-- KEYS    1 state, then per customer: limits
-- ARGV    1 generation, then per customer: version that it should have
-- Returns {'refused', why} or {'ok', number of each such customer (from 1) …}
if not repairs(KEYS[1], ARGV[1]) then return { 'refused', 'overtaken' } end
local reply = { 'ok' }
for i = 2, #KEYS do
  local limits = load_limits(KEYS[i])
  if not limits or limits.version < tonumber(ARGV[i]) then reply[#reply + 1] = i - 1 end
end
return reply
