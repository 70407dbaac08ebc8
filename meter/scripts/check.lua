#!lua
-- How every limit of a customer that applies to a call stands now.
-- KEYS    1 state, 2 limits, 3 used, 4 holds, 5 expiry of holds
-- ARGV    1 build, 2 now (ms) or '', 3 hash of the customer, 4 user, 5 model, 6 'call' or 'balance',
--         7 tokens the call may use (JSON: five pools) or ''
-- Returns {'refused', why} or {'none'} (no limits: customer not known) or {'ok', lines}, a text of lines, since no word has a line's end:
--         now, counted up to (ms), all tokens ever, then per limit: id, max, used, held, resets, mode, when unknown, unknown, asked.
--         As a list, the words of two limits cost whoever reads them 8 µs.
local refused = refusal(KEYS[1], ARGV[1], '')
if refused then return { 'refused', refused } end
local limits = load_limits(KEYS[2])
if not limits then return { 'none' } end
local now = clock(ARGV[2])
local due = redis.call('ZCOUNT', KEYS[5], '-inf', whole(now))
if due > 0 then
  begin_writing(KEYS[1])
  sweep_holds(KEYS[3], KEYS[4], KEYS[5], limits, now)
  end_writing(KEYS[1])
end
local home = tonumber(ARGV[3]) % tonumber(redis.call('HGET', KEYS[1], 'partitions'))
local words = { whole(now), redis.call('HGET', KEYS[1], 'countedUpTo:' .. home) or '0', redis.call('HGET', KEYS[3], '0@0') or '0' }
local pools = ARGV[7] ~= '' and cjson.decode(ARGV[7]) or nil
write_standing(words, standing(KEYS[3], limits, ARGV[4], ARGV[5], now, ARGV[6] == 'balance'), ARGV[5], pools)
return { 'ok', table.concat(words, '\n') }
