#!lua
-- Settles a hold (resizes it to the actual until the usage event comes) or releases it. Twice changes nothing.
-- KEYS    1 state, 2 limits, 3 used, 4 holds, 5 expiry of holds
-- ARGV    1 build, 2 now (ms) or '', 3 hold, 4 'settle' or 'release' or 'find', 5 tokens (JSON: five pools, or '' to keep them),
--         6 how old "counted up to" may be (ms): a settled hold stays as long at least, since its usage event may take as long
-- Returns {'refused', why} or {outcome, hold (JSON) or '', '', then the standing of each limit}; outcome: held, ended, not-found, unknown-customer
local refused = refusal(KEYS[1], ARGV[1], '')
if refused then return { 'refused', refused } end
local state, used, holds, expiry, id = KEYS[1], KEYS[3], KEYS[4], KEYS[5], ARGV[3]
local limits = load_limits(KEYS[2])
if not limits then return { 'unknown-customer', '', '' } end
local now = clock(ARGV[2])
local pools = ARGV[5] ~= '' and cjson.decode(ARGV[5]) or nil

begin_writing(state)
sweep_holds(used, holds, expiry, limits, now)
local text = redis.call('HGET', holds, id)
local hold = text and cmsgpack.unpack(text)
if hold and is_live(hold) and ARGV[4] ~= 'find' then
  weigh_hold(used, limits, hold, -1)
  if ARGV[4] == 'settle' then
    if pools then hold.pools = pools end
    if hold.state == 'held' then
      hold.expiresAt = math.max(hold.expiresAt, now + tonumber(ARGV[6]))
      redis.call('ZADD', expiry, whole(hold.expiresAt), id)
    end
    hold.state = 'settled'
    weigh_hold(used, limits, hold, 1)
  else
    hold.state = 'released'
  end
  redis.call('HSET', holds, id, cmsgpack.pack(hold))
end
end_writing(state)
if not hold then return { 'not-found', '', '' } end
local reply = { is_live(hold) and 'held' or 'ended', hold_text(hold), '' }
return write_standing(reply, standing(used, limits, hold.userId, hold.model, now))
