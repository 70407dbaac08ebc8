#!lua
-- All that the meter has counted of a customer, for reconciling.
-- KEYS    1 state, 2 limits, 3 used
-- ARGV    1 build
-- Returns {'refused', why} or {'ok', counters (JSON) or '', seeding: 1 or 0, then per field: counter id, start quarter, subject, sum}
local refused = refusal(KEYS[1], ARGV[1], '')
if refused then return { 'refused', refused } end
local limits = load_limits(KEYS[2])
local ids = { ['0'] = EVERYTHING.id }
for _, counter in ipairs(limits and limits.counters or {}) do ids[whole(counter.n)] = counter.id end
local reply = { 'ok', limits and #limits.counters > 0 and cjson.encode(limits.counters) or '', 0 }
local all = redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do
  local n, start, subject = string.match(all[i], '^(%d+)@(%d+)#?(.*)$')
  if string.match(all[i], '^s%d+$') then reply[3] = 1 end
  if n and ids[n] then
    reply[#reply + 1] = ids[n]
    reply[#reply + 1] = start
    reply[#reply + 1] = subject
    reply[#reply + 1] = all[i + 1]
  end
end
return reply
