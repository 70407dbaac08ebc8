#!lua
-- Counts one partition's batch in a shard: marks, verdicts, counters, holds and the cursor in one atomic step.
-- KEYS    1 state, 2 verdicts of the partition, 3 cuts, 4 waiting,
--         then per place of marks (a bucket in a generation): its key in the generation before, in its own, in later ones,
--         then per customer: limits, used; then per customer with holds in the batch: holds
-- ARGV    1 build, 2 generation, 3 partition, 4 cursor expected, 5 cursor afterwards, 6 counted up to (ms),
--         7 'judge' or 'replay' (a repairer's: every event is known to be counted), 8 places of marks, 9 keys per place,
--         10 first and 11 last generation of marks of the batch, 12 last one that the caller knows to be in use, 13 customers,
--         14 texts (JSON: users, models, holds as [customer, id, index of the customer's holds key]), 15 offset of the first event,
--         16 events, packed as EVENT
-- Returns {'refused', why} or {'ok', a letter per event: c(ounted) d(uplicate) x (conflict), cuts (flat: text, progress, …)}
local EVENT = '<I4I2I4c8c2I2I2I4I2ddddd'
local build, generation, partition = ARGV[1], ARGV[2], ARGV[3]
local state, verdicts, cuts, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local FIXED_KEYS = 4
local replay = ARGV[7] == 'replay'

if replay then
  if not repairs(state, generation) then return { 'refused', 'overtaken' } end
else
  local refused = refusal(state, build, generation)
  if refused then return { 'refused', refused } end
end
local stand = redis.call('HMGET', state, 'cursor:' .. partition, 'markMax', 'countedUpTo:' .. partition, 'marksFrom')
if (stand[1] or '0') ~= ARGV[4] then return { 'refused', 'cursor' } end
local places, keys_per_place, customers = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[13])
local mark_max = tonumber(stand[2] or 0)
if not replay and mark_max > tonumber(ARGV[12]) then return { 'refused', 'marks' } end

local texts = cjson.decode(ARGV[14])
local customer_keys = FIXED_KEYS + places * keys_per_place
local hold_keys = customer_keys + customers * 2
local counted_up_to = tonumber(ARGV[6])
local quarter_now = math.floor(counted_up_to / 900000)

-- First everything is judged and summed; nothing is written until all of it is known.
local letters, seen = {}, {}
local new_marks = {} -- flat: key, id, fingerprint
local new_verdicts = {} -- flat: offset, letter
local sums = {} -- per customer: { total, fields }
local limits_of = {}
local ended = {} -- flat: hold
local base = tonumber(ARGV[15])

local function sum_event(customer, user, model, quarter, pools)
  local sum = sums[customer]
  if not sum then
    sum = { total = 0, fields = {}, rolling = false }
    sums[customer] = sum
    limits_of[customer] = load_limits(KEYS[customer_keys + customer * 2 + 1]) or false
  end
  sum.total = sum.total + pools[1] + pools[2] + pools[3] + pools[4] + pools[5]
  local limits = limits_of[customer]
  if not limits then return end
  for _, counter in ipairs(limits.counters) do
    local subject = subject_of(counter, user, model)
    if subject then
      local start = nil
      if counter.rollingHours > 0 then
        if quarter > quarter_now - counter.rollingHours * 4 then start = quarter end
      else
        start = window_of(counter, quarter)
      end
      if start then
        local field = field_of(counter.n, start, subject)
        sum.fields[field] = (sum.fields[field] or 0) + amount_of(counter, model, pools)
      end
    end
  end
end

local position, count = 1, 0
local packed = ARGV[16]
local pools = {}
while position <= #packed do
  local delta, customer, place, id, fingerprint, user, model, quarter, hold
  delta, customer, place, id, fingerprint, user, model, quarter, hold,
    pools[1], pools[2], pools[3], pools[4], pools[5], position = struct.unpack(EVENT, packed, position)
  count = count + 1
  local known = seen[id]
  if not known and not replay then
    for i = 1, keys_per_place do
      known = redis.call('HGET', KEYS[FIXED_KEYS + place * keys_per_place + i], id)
      if known then break end
    end
  end
  local letter = 'c'
  if known then letter = known == fingerprint and 'd' or 'x' end
  letters[count] = letter
  if letter == 'c' then
    seen[id] = fingerprint
    new_marks[#new_marks + 1] = KEYS[FIXED_KEYS + place * keys_per_place + 2]
    new_marks[#new_marks + 1] = id
    new_marks[#new_marks + 1] = fingerprint
    sum_event(customer, texts.users[user + 1], texts.models[model + 1], quarter, pools)
    if hold > 0 then ended[#ended + 1] = texts.holds[hold] end
  else
    new_verdicts[#new_verdicts + 1] = whole(base + delta)
    new_verdicts[#new_verdicts + 1] = letter
  end
end

begin_writing(state)
for i = 1, #new_marks, 3 do redis.call('HSET', new_marks[i], new_marks[i + 1], new_marks[i + 2]) end
if #new_marks > 0 then
  mark_max = math.max(mark_max, tonumber(ARGV[11]))
  if not stand[4] or tonumber(ARGV[10]) < tonumber(stand[4]) then redis.call('HSET', state, 'marksFrom', ARGV[10]) end
end
if not replay then
  for i = 1, #new_verdicts, 2 do redis.call('HSET', verdicts, new_verdicts[i], new_verdicts[i + 1]) end
end
for customer, sum in pairs(sums) do
  local used = KEYS[customer_keys + customer * 2 + 2]
  add(used, '0@0', sum.total)
  for field, amount in pairs(sum.fields) do add(used, field, amount) end
  if limits_of[customer] then
    local swept = tonumber(redis.call('HGET', used, 'q') or 0)
    if quarter_now > swept then
      if swept > 0 then sweep_fields(used, limits_of[customer], quarter_now) end
      redis.call('HSET', used, 'q', whole(quarter_now))
    end
  end
end
for _, ending in ipairs(ended) do
  local customer, holds = ending[1], KEYS[hold_keys + ending[3] + 1]
  local text = redis.call('HGET', holds, ending[2])
  local hold = text and cmsgpack.unpack(text)
  if hold and is_live(hold) then
    if limits_of[customer] then weigh_hold(KEYS[customer_keys + customer * 2 + 2], limits_of[customer], hold, -1) end
    hold.state = 'counted'
    redis.call('HSET', holds, ending[2], cmsgpack.pack(hold))
  end
end
if counted_up_to < tonumber(stand[3] or 0) then counted_up_to = tonumber(stand[3]) end
redis.call('HSET', state, 'cursor:' .. partition, ARGV[5], 'countedUpTo:' .. partition, whole(counted_up_to), 'markMax', whole(mark_max))
end_writing(state)
return { 'ok', table.concat(letters), cuts_for(cuts, waiting, partition) }
