-- An instance says again what it knows of a peer that it serves, after Redis was away or lost its
-- data. A newer owner wins (I1).
--
-- Messages that the instance delivered while Redis was away have numbers behind `synced`; what
-- other instances put into the inbox meanwhile gets new numbers behind those. What `acked` covers of
-- the numbers behind `synced` says nothing of the inbox.
-- peer, epoch, instance, session, secret hash, meta, key, published, synced, last, acked,
-- rooms n, (room, role, version) * n, sent m, (id, parcel) * m,
-- passed here h, (session, id) * h, awaited a, id * a,
-- messages k, (seq, from, session, id, room, rest) * k
local id, ep, inst = ARGV[3], ARGV[4], ARGV[5]
local synced, last, acked = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local p = key('p', id)
local cursor = 14
local function take()
  cursor = cursor + 1
  return ARGV[cursor - 1]
end

local old = call('HMGET', p, 'ep', 'st', 'seq', 'meta')
if old[1] and tonumber(old[1]) > tonumber(ep) then
  return reply('not_owner')
end
if old[1] and old[1] ~= ep then
  remove(id)
end
-- A Redis that came back with older data gives numbers a second time: what it has under those that
-- the client has seen already is not what the client has seen.
local same = old[1] == ep
local intact = same and tonumber(old[3] or 0) >= synced
local doubtful = same and not intact and entries(id, '-', string.format('%.0f-0', synced)) or {}
if intact then
  acknowledge(id, math.min(acked, synced))
else
  call('SET', base .. ':rebuilding', 1, 'PX', 3000)
end
call('HSET', p, 'ep', ep, 'sid', ARGV[6], 'sec', ARGV[7], 'st', 'on', 'inst', inst,
  'meta', ARGV[8], 'key', ARGV[9], 'pub', ARGV[10])
call('HDEL', p, 'until')
call('ZREM', due, 'w/' .. app .. '/' .. id)
call('ZADD', of_app('peers'), 0, id)
call('SADD', of_instance(inst), app .. '/' .. id)

for _ = 1, tonumber(take()) do
  local room = take()
  local role = take()
  local version = tonumber(take())
  if call('HEXISTS', key('r', room), id) == 0 then
    if tonumber(call('GET', key('v', room)) or 0) < version then
      call('SET', key('v', room), version)
    end
    announce_in(room, id, 'join', ARGV[8])
    call('HSET', key('r', room), id, role)
    call('ZADD', of_app('rooms'), 0, room)
  end
  call('SADD', key('pr', id), room)
end
if old[2] == 'away' then
  announce(id, 'back')
  tell_watchers(id, 'on')
end
-- It changed while Redis was away: without a version, nobody would notice that they missed it.
if same and old[4] ~= ARGV[8] then
  announce(id, 'meta', ARGV[8])
end
for _ = 1, tonumber(take()) do
  local mid = take()
  local parcel = take()
  if call('HEXISTS', key('o', id), mid) == 0 then
    remember(id, mid, read_parcel(parcel), 256)
  end
end

-- What the instance passed on past Redis may have been on its way here all the same.
local here = {}
for _ = 1, tonumber(take()) do
  local sid = take()
  here[sid .. '/' .. take()] = 'acknowledged'
end
-- Receipts may have been lost with a subscription, and messages with a master that had not yet told
-- its replica of them.
local told, forgotten = {}, {}
for _ = 1, tonumber(take()) do
  local mid = take()
  local text = call('HGET', key('o', id), mid)
  local parcel = text and read_parcel(text)
  if not parcel then
    forgotten[#forgotten + 1] = mid
  end
  if parcel and parcel.w == 0 then
    told[#told + 1] = mid
    told[#told + 1] = status_of(parcel)
    told[#told + 1] = reason_of(parcel)
    if parcel.old == '1' then
      call('HDEL', key('o', id), mid)
    end
  end
end
local unseen = entries(id, string.format('%.0f-0', synced + 1), '+')
if intact and last == synced then
  return reply('ok', flat(unseen), told, forgotten)
end
local now = now_ms()
call('DEL', key('in', id))
local held = {}
for _ = 1, tonumber(take()) do
  local e = { t = now }
  e.seq = tonumber(take())
  e.from = take()
  e.sid = take()
  e.mid = take()
  e.room = take()
  e.rest = take()
  held[e.sid .. '/' .. e.mid] = true
  -- What Redis forgot and the client has acknowledged is settled later, when those who wait for it
  -- are back as well.
  if e.seq > acked or not intact then
    append(id, e)
    here[e.sid .. '/' .. e.mid] = here[e.sid .. '/' .. e.mid] and 'waiting'
  end
end
for _, e in ipairs(doubtful) do
  if not held[e.sid .. '/' .. e.mid] then
    settle(e.from, e.sid, e.mid, e.room, false)
  end
end
local seq, new = last, {}
for _, e in ipairs(unseen) do
  local twin = here[e.sid .. '/' .. e.mid]
  if twin == 'acknowledged' then
    settle(e.from, e.sid, e.mid, e.room, true)
  elseif not twin then
    seq = seq + 1
    e.seq = seq
    append(id, e)
    new[#new + 1] = e
  end
end
call('HSET', p, 'seq', string.format('%.0f', seq))
call('ZADD', due, 'NX', now, 'q/' .. app .. '/' .. id)
return reply('ok', flat(new), told, forgotten)
