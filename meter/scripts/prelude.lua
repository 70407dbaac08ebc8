#!lua
-- What several scripts share; scripts.ts puts it in front of each. It is no script of its own.
-- KEYS    none
-- ARGV    none
-- Returns nothing
--
-- The state hash of a shard: build (names the keys in force), layout (of what stands under them), generation, runId (of the server that wrote it), repairing,
-- repairRun, building, dirty, partitions, cursor:<p>, countedUpTo:<p>, markMax, marksFrom, lastCut.
-- The used hash of a customer: `0@0` all tokens ever; `<n>@<start>[#subject]` what counter n saw in the window that starts at
-- that quarter; `h<n>[#subject]` what is held against counter n; `s<n>` cuts that counter n still waits for; `q` the quarter
-- at which fields were last swept.
-- The cuts hash of a shard, of cuts that are open: `<cut>` its description (JSON), `<cut>:<p>` the progress of a partition that
-- has added a part, `@<customer>` the customer's cut. Beside it the sorted set `waiting`: `<cut>:<p>`, as long as the cut waits
-- for the partition, by partition and then by age.

local COUNT_MAX = 9007199254740991
local HOLD_MEMORY_MS = 600000 -- how long a hold that is over is remembered after its expiry, so that a retry of its creation finds it ended
local LAYOUT = '2' -- a state of another one is built anew; to be raised when what is kept takes another form
local CUTS_TOLD_MAX = 64
local CUT_IDS = 1099511627776 -- 2^40, more cuts than a shard will ever have; 8,192 partitions of them fit into a score

-- 40 hexadecimal digits, in the middle of some twenty lines. A pattern would be tried at each character before them: 7 µs a script.
local function run_id()
  local server = redis.call('INFO', 'server')
  local _, before = string.find(server, 'run_id:', 1, true)
  return before and string.match(server, '^%x+', before + 1)
end

-- The first and the last write of a script that changes a shard; in between, `dirty` says that the shard is half-written. A
-- script that died there leaves it so: Redis does not roll back. So does a torn append-only file: of a transaction that was
-- cut off in the middle, Redis 7.0 leaves the whole commands in the file, and the load after next runs them in front of the
-- next transaction. Hence a sum and no flag: that transaction would set a flag back.
local function begin_writing(state)
  redis.call('HINCRBY', state, 'dirty', 1)
end

local function end_writing(state)
  redis.call('HINCRBY', state, 'dirty', -1)
end

local function half_written(dirty)
  return dirty and dirty ~= '0'
end

-- Nil when the shard may be used by whoever holds this build and generation ('' = any), else why not.
local function refusal(state, build, generation)
  local now = redis.call('HMGET', state, 'build', 'generation', 'runId', 'repairing', 'dirty', 'layout')
  if not now[1] then return 'unrepaired' end
  if now[3] ~= run_id() or now[4] == '1' or half_written(now[5]) or now[6] ~= LAYOUT then return 'unrepaired' end
  if generation ~= '' and now[2] ~= generation then return 'generation:' .. now[2] end
  if now[1] ~= build then return 'build:' .. now[1] end
  return nil
end

-- True when the caller is the shard's repairer: its generation, on the server on which it began.
local function repairs(state, generation)
  local now = redis.call('HMGET', state, 'generation', 'repairing', 'repairRun')
  return now[1] == generation and now[2] == '1' and now[3] == run_id()
end

local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

local function clamp(amount)
  if amount > COUNT_MAX then return COUNT_MAX end
  if amount < -COUNT_MAX then return -COUNT_MAX end
  return amount
end

-- Adds to a field. A sum that would pass 2^53 - 1 on either side stays there: beyond it numbers could not be told apart, and
-- Redis would refuse in the middle of a script to go on beyond 2^63.
local function add(key, field, amount)
  local sum = redis.call('HINCRBY', key, field, whole(clamp(amount)))
  if sum > COUNT_MAX or sum < -COUNT_MAX then redis.call('HSET', key, field, whole(clamp(sum))) end
  return sum
end

local function load_limits(key)
  local packed = redis.call('GET', key)
  return packed and cmsgpack.unpack(packed) or nil
end

-- Counter 0 of every customer, limited or not: all tokens ever, so that whatever was counted can be reconciled.
local EVERYTHING = {
  id = 'everything', n = 0, scope = { kind = 'customer' }, weights = { ['*'] = { 1, 1, 1, 1, 1 } }, rollingHours = 0, windows = { { 0, 2147483647 } }
}

-- The subject under which a counter sums a call (empty for one sum in all), or nil when the call is none of its business.
local function subject_of(counter, user, model)
  local scope = counter.scope
  if scope.kind == 'customer' then return '' end
  if scope.kind == 'user' then return scope.userId == user and '' or nil end
  if scope.kind == 'model' then return scope.model == model and '' or nil end
  if scope.kind == 'each-user' then return user ~= '' and user or nil end
  if scope.kind == 'each-model' then return model end
  return scope.userId == user and scope.model == model and '' or nil
end

local function amount_of(counter, model, pools)
  local weights = counter.weights[model] or counter.weights['*']
  return weights[1] * pools[1] + weights[2] * pools[2] + weights[3] * pools[3] + weights[4] * pools[4] + weights[5] * pools[5]
end

-- Start and end of the listed window that holds a quarter, or nil. Lists are ascending: start, end, start, end, … In one list,
-- since a table for each window is dear to unpack, and limits are unpacked with each check and each batch.
local function window_of(counter, quarter)
  local windows = counter.windows
  for i = #windows - 1, 1, -2 do
    if windows[i] <= quarter then
      if quarter < windows[i + 1] then return windows[i], windows[i + 1] end
      return nil
    end
  end
  return nil
end

local function field_of(n, start, subject)
  if subject == '' then return n .. '@' .. start end
  return n .. '@' .. start .. '#' .. subject
end

local function held_field(n, subject)
  if subject == '' then return 'h' .. n end
  return 'h' .. n .. '#' .. subject
end

-- Adds a hold to (sign 1) or takes it from (sign -1) what is held against every counter it touches.
local function weigh_hold(used, limits, hold, sign)
  for _, counter in ipairs(limits.counters) do
    local subject = subject_of(counter, hold.userId, hold.model)
    if subject then
      local amount = amount_of(counter, hold.model, hold.pools)
      -- Nothing held is no field: users come and go.
      if amount ~= 0 and add(used, held_field(counter.n, subject), sign * amount) <= 0 then
        redis.call('HDEL', used, held_field(counter.n, subject))
      end
    end
  end
end

local function is_live(hold)
  return hold.state == 'held' or hold.state == 'settled'
end

-- A hold as JSON. cjson writes 14 digits of a number, so numbers that may have more go as text.
local function hold_text(hold)
  local pools = {}
  for i, pool in ipairs(hold.pools) do pools[i] = whole(pool) end
  return cjson.encode({
    holdId = hold.holdId, userId = hold.userId, model = hold.model, pools = pools, state = hold.state, expiresAt = whole(hold.expiresAt)
  })
end

-- Ends what has expired; forgets what ended, however it did, once it was due and then remembered for a while. Bounded, so that
-- no call pays for all at once.
local function sweep_holds(used, holds, expiry, limits, now)
  local due = redis.call('ZRANGEBYSCORE', expiry, '-inf', whole(now), 'LIMIT', 0, 1000)
  for _, id in ipairs(due) do
    local packed = redis.call('HGET', holds, id)
    local hold = packed and cmsgpack.unpack(packed)
    if hold and not hold.remembered then
      if is_live(hold) then
        weigh_hold(used, limits, hold, -1)
        hold.state = 'expired'
      end
      hold.remembered = true
      redis.call('HSET', holds, id, cmsgpack.pack(hold))
      redis.call('ZADD', expiry, whole(now + HOLD_MEMORY_MS), id)
    else
      redis.call('HDEL', holds, id)
      redis.call('ZREM', expiry, id)
    end
  end
end

-- How a customer's limits stand for a call; for a balance, also those of other users and models than the call's.
local function standing(used, limits, user, model, now, balance)
  local quarter = math.floor(now / 900000)
  local counters = {}
  for _, counter in ipairs(limits.counters) do counters[counter.id] = counter end
  local lines = {}
  for _, limit in ipairs(limits.limits) do
    local counter = counters[limit.counterId]
    local subject = subject_of(counter, user, model)
    if balance then
      if counter.scope.kind == 'each-model' then subject = model ~= '' and model or nil
      elseif counter.scope.kind ~= 'each-user' then subject = '' end
    end
    if subject then
      local sum, resets, unknown = 0, 0, ''
      local fields, first = { 's' .. counter.n, held_field(counter.n, subject) }, nil
      if limit.rollingHours > 0 then
        first = quarter - limit.rollingHours * 4 + 1
        for q = first, quarter + 1 do fields[#fields + 1] = field_of(counter.n, q, subject) end
      else
        local starts, ends = window_of(counter, quarter)
        if starts then
          fields[3] = field_of(counter.n, starts, subject)
          resets = ends * 900000
        else
          unknown = 'windows-ran-out'
        end
      end
      local values = redis.call('HMGET', used, unpack(fields))
      local oldest = nil
      for i = 3, #fields do
        local value = values[i]
        if value then
          sum = sum + tonumber(value)
          if first and not oldest and value ~= '0' then oldest = first + i - 3 end
        end
      end
      if first then resets = ((oldest or quarter) + limit.rollingHours * 4) * 900000 end
      if values[1] then unknown = 'seeding' end
      lines[#lines + 1] = {
        limit = limit, counter = counter, used = sum, held = tonumber(values[2] or 0), resets = resets, unknown = unknown
      }
    end
  end
  return lines
end

-- Nine words a limit. `pools`, when there are any, are what the call of a model asks: told in the measure of each limit.
local function write_standing(reply, lines, model, pools)
  for _, line in ipairs(lines) do
    reply[#reply + 1] = line.limit.id
    reply[#reply + 1] = whole(line.limit.max)
    reply[#reply + 1] = whole(line.used)
    reply[#reply + 1] = whole(line.held)
    reply[#reply + 1] = whole(line.resets)
    reply[#reply + 1] = line.limit.mode
    reply[#reply + 1] = line.limit.whenUnknown
    reply[#reply + 1] = line.unknown
    reply[#reply + 1] = whole(pools and amount_of(line.counter, model, pools) or 0)
  end
  return reply
end

-- Cuts that wait for a partition, oldest first: pairs of the cut's description and this partition's progress. Not more than
-- some: the others are told when these are done.
local function cuts_for(cuts, waiting, partition)
  local first, found = tonumber(partition) * CUT_IDS, {}
  local mine = redis.call('ZRANGEBYSCORE', waiting, whole(first), '(' .. whole(first + CUT_IDS), 'LIMIT', 0, CUTS_TOLD_MAX)
  for _, one in ipairs(mine) do
    local told = redis.call('HMGET', cuts, string.match(one, '^%d+'), one)
    found[#found + 1] = told[1]
    found[#found + 1] = told[2] or ''
  end
  return found
end

-- The customer's open cut, or nil. There is at most one.
local function open_cut(cuts, customer)
  local id = redis.call('HGET', cuts, '@' .. customer)
  return id and cjson.decode(redis.call('HGET', cuts, id)) or nil
end

-- Opens a cut for counters of a customer at the shard's present cursors. Their windows have been set to zero by the caller.
local function place_cut(keys, customer, counters)
  local number = redis.call('HINCRBY', keys.state, 'lastCut', 1)
  local partitions = tonumber(redis.call('HGET', keys.state, 'partitions'))
  local id, at = whole(number), {}
  for p = 0, partitions - 1 do
    at[p + 1] = redis.call('HGET', keys.state, 'cursor:' .. p) or '0' -- as text: cjson writes 14 digits of a number
    redis.call('ZADD', keys.waiting, whole(p * CUT_IDS + number), id .. ':' .. p)
  end
  local text = cjson.encode({ id = id, customerId = customer, counters = counters, at = at })
  redis.call('HSET', keys.cuts, id, text, '@' .. customer, id)
  for _, counter in ipairs(counters) do redis.call('HINCRBY', keys.used, 's' .. counter.n, 1) end
end

-- Takes a cut away. Its counters no longer wait for it.
local function remove_cut(keys, cut)
  for p = 0, #cut.at - 1 do
    redis.call('ZREM', keys.waiting, cut.id .. ':' .. p)
    redis.call('HDEL', keys.cuts, cut.id .. ':' .. p)
  end
  redis.call('HDEL', keys.cuts, cut.id, '@' .. cut.customerId)
  for _, counter in ipairs(cut.counters) do
    if redis.call('HINCRBY', keys.used, 's' .. counter.n, -1) <= 0 then redis.call('HDEL', keys.used, 's' .. counter.n) end
  end
end

-- Sets windows of counters to zero: those that `counters` list; of a rolling counter, all.
local function zero_windows(used, counters)
  local chosen = {}
  for _, counter in ipairs(counters) do
    local starts = {}
    for _, window in ipairs(counter.windows) do starts[whole(window[1])] = true end
    chosen[whole(counter.n)] = { all = counter.rollingHours > 0, starts = starts }
  end
  for _, field in ipairs(redis.call('HKEYS', used)) do
    local n, start = string.match(field, '^(%d+)@(%d+)')
    local choice = n and chosen[n]
    if choice and (choice.all or choice.starts[start]) then redis.call('HDEL', used, field) end
  end
end

-- Drops what no limit can ask for any more: windows before the listed ones, quarter-hours before a rolling window, counters
-- that are gone.
local function sweep_fields(used, limits, quarter)
  local first = { ['0'] = 0 }
  for _, counter in ipairs(limits.counters) do
    if counter.rollingHours > 0 then
      first[whole(counter.n)] = quarter - counter.rollingHours * 4
    elseif counter.windows[1] then
      first[whole(counter.n)] = counter.windows[1]
    end
  end
  for _, field in ipairs(redis.call('HKEYS', used)) do
    local n, start = string.match(field, '^(%d+)@(%d+)')
    if n and (not first[n] or tonumber(start) < first[n]) then redis.call('HDEL', used, field) end
  end
end
