-- Takes a peer id by compare-and-set. The epoch comes from the clock, so that it grows even where
-- Redis has forgotten the one before.
-- peer, instance, policy, meta, key, session, secret hash, resumed session (* is any), its secret's hash,
-- last seq
local id, inst, policy, meta, pubkey = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local session, secret, resume, proof = ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local last_seq = tonumber(ARGV[12])
local p = key('p', id)
local old = call('HMGET', p, 'ep', 'sid', 'sec', 'st', 'inst', 'meta', 'until', 'sec0')
local lapsed = 0

if old[4] == 'away' and tonumber(old[7]) <= now_ms() then
  remove(id)
  old = { false, false, false, false, false, false, false, false }
  lapsed = 1
end
-- Whichever session a standing secret began. Who knows another one begins anew, if the policy lets it.
if resume == '*' then
  resume = old[3] == proof and old[2] or ''
end
-- The answer to an earlier resume may have been lost, and its new secret with it: the one that it
-- presented is good until the owner acts.
if resume ~= '' and (old[2] ~= resume or (old[3] ~= proof and old[8] ~= proof)) then
  return reply('expired', lapsed)
end
local taken = policy == 'reject' and old[4] == 'on' or policy == 'resume' and old[1]
if resume == '' and taken then
  return reply('taken', lapsed)
end

local ep = now_us()
if old[1] and tonumber(old[1]) >= ep then
  ep = tonumber(old[1]) + 1
end
ep = string.format('%.0f', ep)

if old[4] == 'on' then
  publish(old[5], table.concat({ 'e', app, id, old[1] }, '\n'))
  call('SREM', of_instance(old[5]), app .. '/' .. id)
end

if resume == '' then
  if old[1] then
    remove(id)
  end
  call('HSET', p, 'ep', ep, 'sid', session, 'sec', secret, 'st', 'on', 'inst', inst,
    'meta', meta, 'key', pubkey, 'pub', '', 'seq', 0)
  call('ZADD', of_app('peers'), 0, id)
  call('SADD', of_instance(inst), app .. '/' .. id)
  return reply('ok', lapsed, ep, session, 0, {}, {})
end

call('HSET', p, 'ep', ep, 'sec', secret, 'sec0', proof, 'st', 'on', 'inst', inst, 'meta', meta,
  'key', pubkey)
call('HDEL', p, 'until')
call('ZREM', due, 'w/' .. app .. '/' .. id)
call('SADD', of_instance(inst), app .. '/' .. id)
-- What an instance passed on past Redis, and had no time to say, has numbers of a higher round: the
-- client has seen as much of the inbox as the lower part says. What it has not seen moves behind.
local seq = tonumber(call('HGET', p, 'seq'))
if round_of(last_seq) > round_of(seq) and last_seq < MAX_SEQ then
  acknowledge(id, round_of(seq) * ROUND + last_seq % ROUND)
  local behind = round_of(last_seq) * ROUND
  local unseen = entries(id, '-', '+')
  call('DEL', key('in', id))
  for _, e in ipairs(unseen) do
    e.seq = behind + e.seq % ROUND
    append(id, e)
  end
  call('HSET', p, 'seq', string.format('%.0f', behind + seq % ROUND))
else
  acknowledge(id, math.min(last_seq, seq))
end
local replay = flat(entries(id, '-', '+'))
local rooms = {}
for _, room in ipairs(call('SMEMBERS', key('pr', id))) do
  rooms[#rooms + 1] = room
  rooms[#rooms + 1] = call('HGET', key('r', room), id) or ''
end
-- The one who comes back hears it too: the versions tell it which rooms changed meanwhile.
if old[4] == 'away' then
  announce(id, 'back')
  tell_watchers(id, 'on')
end
if old[6] ~= meta then
  announce(id, 'meta', meta)
end
return reply('ok', lapsed, ep, old[2], 1, replay, rooms, call('HGET', p, 'pub'), call('HGET', p, 'seq'))
