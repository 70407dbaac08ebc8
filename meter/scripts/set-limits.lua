#!lua
-- Replaces a customer's limits. A counter's window that was not kept so far and may have seen usage begins at zero under a cut.
-- A customer has at most one open cut: a new one takes over what an older one still waits for, so that nothing is added twice.
-- KEYS    1 state, 2 limits, 3 used, 4 holds, 5 cuts, 6 waiting
-- ARGV    1 build, 2 now (ms) or '', 3 limits (JSON; windows in one list: start, end, …) or '' to recount: the limits stay and every counter begins again,
--         4 how far ahead of its arrival an event may be (ms), 5 customer, 6 generation of the repairer or ''
-- Returns {'refused', why} or {'ok', 'set'|'older'}
if ARGV[6] ~= '' then
  if not repairs(KEYS[1], ARGV[6]) then return { 'refused', 'overtaken' } end
else
  local refused = refusal(KEYS[1], ARGV[1], '')
  if refused then return { 'refused', refused } end
end
local keys = { state = KEYS[1], used = KEYS[3], cuts = KEYS[5], waiting = KEYS[6] }
local state, used, holds = keys.state, keys.used, KEYS[4]
local recount = ARGV[3] == ''
local stored = load_limits(KEYS[2])
local before = stored or { version = 0, counters = {}, limits = {}, nextCounter = 1 }
local limits = recount and before or cjson.decode(ARGV[3])
if before.version > limits.version then return { 'ok', 'older' } end

local now = clock(ARGV[2])
-- No event so far lies in a later quarter. One quarter more, since the broker's clock, not this one, tells arrivals.
local touched_until = math.floor((now + tonumber(ARGV[4])) / 900000) + 1

local function window_id(n, starts, ends)
  return whole(n) .. '@' .. whole(starts) .. '-' .. whole(ends)
end

local cut, waiting = open_cut(keys.cuts, ARGV[5]), {}
for _, counter in ipairs(cut and cut.counters or {}) do
  waiting[whole(counter.n)] = true
  for _, window in ipairs(counter.windows) do waiting[window_id(counter.n, window[1], window[2])] = true end
end

local kept = {}
for _, counter in ipairs(before.counters) do kept[counter.id] = counter end
limits.nextCounter = before.nextCounter

-- Windows of a counter that are to be seeded, if those of the cut that is open do (`again`) or do not begin again as well.
local function missing_windows(counter, old, again)
  if counter.rollingHours > 0 then
    if old and not recount and not (again and waiting[whole(counter.n)]) then return {} end
    return { { math.floor(now / 900000) - counter.rollingHours * 4, 2147483647 } }
  end
  local had, missing = {}, {}
  local listed, before_that = counter.windows, old and old.windows or {}
  for i = 1, #before_that, 2 do had[window_id(counter.n, before_that[i], before_that[i + 1])] = true end
  for i = 1, #listed, 2 do
    local id = window_id(counter.n, listed[i], listed[i + 1])
    if listed[i] <= touched_until and (recount or not had[id] or (again and waiting[id])) then
      missing[#missing + 1] = { listed[i], listed[i + 1] }
    end
  end
  return missing
end

local function counters_to_seed(again)
  local to_seed = {}
  if recount or (again and waiting['0']) then to_seed[1] = EVERYTHING end
  for _, counter in ipairs(limits.counters) do
    local missing = missing_windows(counter, kept[counter.id], again)
    if #missing > 0 then
      to_seed[#to_seed + 1] = {
        id = counter.id, n = counter.n, scope = counter.scope, weights = counter.weights, rollingHours = counter.rollingHours, windows = missing
      }
    end
  end
  return to_seed
end

local known = {}
for _, counter in ipairs(limits.counters) do
  known[counter.id] = true
  if kept[counter.id] then
    counter.n = kept[counter.id].n
  else
    counter.n = limits.nextCounter
    limits.nextCounter = limits.nextCounter + 1
  end
end
for _, limit in ipairs(limits.limits) do
  if not known[limit.counterId] then return redis.error_reply('ERR limit ' .. limit.id .. ' has no counter ' .. limit.counterId) end
end
local to_seed = counters_to_seed(false)
if #to_seed > 0 and cut then to_seed = counters_to_seed(true) end
local live = {}
local all_holds = redis.call('HVALS', holds)
for _, packed in ipairs(all_holds) do
  local hold = cmsgpack.unpack(packed)
  if is_live(hold) then live[#live + 1] = hold end
end

begin_writing(state)
if stored or not recount then redis.call('SET', KEYS[2], cmsgpack.pack(limits)) end
if #to_seed > 0 then
  if cut then remove_cut(keys, cut) end
  zero_windows(used, to_seed)
  place_cut(keys, ARGV[5], to_seed)
end
sweep_fields(used, limits, math.floor(now / 900000))
for _, field in ipairs(redis.call('HKEYS', used)) do
  if string.sub(field, 1, 1) == 'h' then redis.call('HDEL', used, field) end
end
for _, hold in ipairs(live) do weigh_hold(used, limits, hold, 1) end
end_writing(state)
return { 'ok', 'set' }
