#!lua
-- Creates or extends a hold: against all limits that apply, or not at all.
-- KEYS    1 state, 2 limits, 3 used, 4 holds, 5 expiry of holds
-- ARGV    1 build, 2 now (ms) or '', 3 hash of the customer, 4 'create' or 'extend', 5 hold, 6 time to live (ms),
--         7 how old "counted up to" may be (ms), 8 tokens (JSON: five pools, or '' to keep them), 9 user, 10 model
-- Returns {'refused', why} or {outcome, hold (JSON) or '', binding limit or reason, then the standing of each limit}
--         outcome: held, again (the same hold was there), ended (exists but is over), exceeded, conflict, not-found, unknown-customer, unknown
local refused = refusal(KEYS[1], ARGV[1], '')
if refused then return { 'refused', refused } end
local state, used, holds, expiry, id = KEYS[1], KEYS[3], KEYS[4], KEYS[5], ARGV[5]
local limits = load_limits(KEYS[2])
if not limits then return { 'unknown-customer', '', '' } end
local now = clock(ARGV[2])

begin_writing(state)
sweep_holds(used, holds, expiry, limits, now)
end_writing(state)

local text = redis.call('HGET', holds, id)
local before = text and cmsgpack.unpack(text)
local function reply(outcome, hold, binding, lines)
  return write_standing({ outcome, hold and hold_text(hold) or '', binding }, lines or {})
end

local hold
if ARGV[4] == 'create' then
  hold = { holdId = id, userId = ARGV[9], model = ARGV[10], pools = cjson.decode(ARGV[8]), state = 'held' }
  hold.asked = ARGV[8]
  if before then
    if before.userId ~= hold.userId or before.model ~= hold.model or before.asked ~= hold.asked then return reply('conflict', before, '') end
    return reply(is_live(before) and 'again' or 'ended', before, '', standing(used, limits, before.userId, before.model, now))
  end
else
  if not before then return reply('not-found', nil, '') end
  if not is_live(before) then return reply('ended', before, '') end
  hold = cmsgpack.unpack(text)
  if ARGV[8] ~= '' then hold.pools = cjson.decode(ARGV[8]) end
end
hold.expiresAt = now + tonumber(ARGV[6])

local lines = standing(used, limits, hold.userId, hold.model, now)
local home = tonumber(ARGV[3]) % tonumber(redis.call('HGET', state, 'partitions'))
local stale = now - tonumber(redis.call('HGET', state, 'countedUpTo:' .. home) or 0) > tonumber(ARGV[7])
for _, line in ipairs(lines) do
  local growth = amount_of(line.counter, hold.model, hold.pools)
  if before then growth = growth - amount_of(line.counter, before.model, before.pools) end
  if line.limit.mode == 'hard' and growth > 0 then
    local unknown = line.unknown
    if stale then unknown = 'stale' end
    if unknown ~= '' then
      if line.limit.whenUnknown == 'deny' then return reply('unknown', nil, unknown, lines) end
    elseif line.used + line.held + growth > line.limit.max then
      return reply('exceeded', nil, line.limit.id, lines)
    end
  end
end

begin_writing(state)
if before then weigh_hold(used, limits, before, -1) end
weigh_hold(used, limits, hold, 1)
redis.call('HSET', holds, id, cmsgpack.pack(hold))
redis.call('ZADD', expiry, whole(hold.expiresAt), id)
end_writing(state)
return reply('held', hold, '', standing(used, limits, hold.userId, hold.model, now))
