#!lua
-- Adds a part to a shard that is built from empty: customers as the ledger has them, marks as the log has them. It sets
-- absolute values, so a repeat changes nothing.
-- KEYS    1 state, then per mark its bucket, then per customer: limits, used
-- ARGV    1 generation, 2 marks, packed as MARK, 3 customers (JSON: { total, limits or false, amounts })
-- Returns {'refused', why} or {'ok'}
local MARK = '<I4c8c2'
if not repairs(KEYS[1], ARGV[1]) then return { 'refused', 'overtaken' } end
local packed, position, last = ARGV[2], 1, 0
while position <= #packed do
  local bucket, id, fingerprint
  bucket, id, fingerprint, position = struct.unpack(MARK, packed, position)
  redis.call('HSET', KEYS[2 + bucket], id, fingerprint)
  if bucket >= last then last = bucket + 1 end
end
for i, customer in ipairs(cjson.decode(ARGV[3])) do
  local limits_key, used = KEYS[2 + last + (i - 1) * 2], KEYS[3 + last + (i - 1) * 2]
  redis.call('HSET', used, '0@0', whole(clamp(tonumber(customer.total))))
  local limits = customer.limits
  if limits then
    local numbers = {}
    for n, counter in ipairs(limits.counters) do
      counter.n = n
      numbers[counter.id] = n
    end
    limits.nextCounter = #limits.counters + 1
    redis.call('SET', limits_key, cmsgpack.pack(limits))
    for _, one in ipairs(customer.amounts) do
      redis.call('HSET', used, field_of(numbers[one[1]], whole(one[2]), one[3]), whole(clamp(one[4])))
    end
  end
end
return { 'ok' }
