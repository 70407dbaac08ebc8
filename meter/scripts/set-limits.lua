#!lua
-- Replaces a customer's limits. A counter's window that was not kept so far and may have seen usage begins at zero under a cut.
-- KEYS    1 state, 2 limits, 3 used, 4 holds, 5 cuts
-- ARGV    1 build, 2 now (ms) or '', 3 limits (JSON) or '' to recount: the limits stay and every counter begins again,
--         4 how far ahead of now an event may be (ms), 5 customer
-- Returns {'refused', why} or {'ok', 'set'|'older'}
local refused = refusal(KEYS[1], ARGV[1], '')
if refused then return { 'refused', refused } end
local state, used, holds, cuts = KEYS[1], KEYS[3], KEYS[4], KEYS[5]
local recount = ARGV[3] == ''
local stored = load_limits(KEYS[2])
local before = stored or { version = 0, counters = {}, limits = {}, nextCounter = 1 }
local limits = recount and before or cjson.decode(ARGV[3])
if before.version > limits.version then return { 'ok', 'older' } end

local now = clock(ARGV[2])
local touched_until = math.floor((now + tonumber(ARGV[4])) / 900000) -- no event so far lies in a later quarter
local kept = {}
for _, counter in ipairs(before.counters) do kept[counter.id] = counter end

limits.nextCounter = before.nextCounter
local to_seed = recount and { EVERYTHING } or {}
for _, counter in ipairs(limits.counters) do
  local old = kept[counter.id]
  if old then
    counter.n = old.n
  else
    counter.n = limits.nextCounter
    limits.nextCounter = limits.nextCounter + 1
  end
  local missing = {}
  if counter.rollingHours == 0 then
    local had = {}
    for _, window in ipairs(old and old.windows or {}) do had[whole(window[1]) .. '-' .. whole(window[2])] = true end
    for _, window in ipairs(counter.windows) do
      if window[1] <= touched_until and (recount or not had[whole(window[1]) .. '-' .. whole(window[2])]) then missing[#missing + 1] = window end
    end
  end
  if #missing > 0 or (counter.rollingHours > 0 and (recount or not old or old.rollingHours < counter.rollingHours)) then
    if counter.rollingHours > 0 then missing = { { math.floor(now / 900000) - counter.rollingHours * 4, 2147483647 } } end
    to_seed[#to_seed + 1] = {
      id = counter.id, n = counter.n, scope = counter.scope, weights = counter.weights, rollingHours = counter.rollingHours, windows = missing
    }
  end
end

redis.call('HSET', state, 'dirty', '1')
if stored or not recount then redis.call('SET', KEYS[2], cmsgpack.pack(limits)) end
if #to_seed > 0 then
  zero_windows(used, to_seed)
  place_cut(state, cuts, used, ARGV[5], to_seed)
end
sweep_fields(used, limits, math.floor(now / 900000))
for _, field in ipairs(redis.call('HKEYS', used)) do
  if string.sub(field, 1, 1) == 'h' then redis.call('HDEL', used, field) end
end
local all = redis.call('HGETALL', holds)
for i = 2, #all, 2 do
  local hold = cmsgpack.unpack(all[i])
  if is_live(hold) then weigh_hold(used, limits, hold, 1) end
end
redis.call('HSET', state, 'dirty', '0')
return { 'ok', 'set' }
