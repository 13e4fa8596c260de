-- An instance says again what it knows of a peer that it serves, after Redis was away or lost its
-- data. A newer owner wins (I1).
--
-- Messages that the instance delivered while Redis was away have numbers behind `synced`; what
-- other instances put into the inbox meanwhile gets new numbers behind those. What `acked` covers of
-- the numbers behind `synced` says nothing of the inbox.
--
-- A Redis that came back with older data gives numbers a second time. The instance knows what the
-- client has under the last ones: what has one of those and is something else has not arrived.
-- peer, epoch, instance, session, secret hash, meta, key, published, synced, last, acked,
-- acknowledged of late l, (seq, session, id) * l,
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
-- A number, and so many groups of so many values.
local function list(values)
  local groups = {}
  for i = 1, tonumber(take()) do
    groups[i] = {}
    for j = 1, values do
      groups[i][j] = take()
    end
  end
  return groups
end

local old = call('HMGET', p, 'ep', 'st', 'seq', 'meta')
if old[1] and tonumber(old[1]) > tonumber(ep) then
  return reply('not_owner')
end
if old[1] and old[1] ~= ep then
  remove(id)
end
-- What the client has under the last numbers, and in `here` what became of each message that it or the
-- instance has: acknowledged, or waiting for that.
local client_has, here, first = {}, {}, nil
local function keep(seq, sid, mid, state)
  if seq <= synced then
    client_has[seq] = sid .. '/' .. mid
    first = math.min(first or seq, seq)
  end
  here[sid .. '/' .. mid] = state
end
for _, m in ipairs(list(3)) do
  keep(tonumber(m[1]), m[2], m[3], 'acknowledged')
end
local rooms, sent, passed, awaited, held = list(3), list(2), list(2), list(1), list(6)
for _, m in ipairs(held) do
  keep(tonumber(m[1]), m[3], m[4], 'waiting')
end

local same = old[1] == ep
local others, doubtful = {}, {}
for _, e in ipairs(same and entries(id, '-', string.format('%.0f-0', synced)) or {}) do
  local has = client_has[e.seq]
  if has and has ~= e.sid .. '/' .. e.mid or not has and first and e.seq > first then
    others[#others + 1] = e
  else
    doubtful[#doubtful + 1] = e
  end
end
local intact = same and #others == 0 and tonumber(old[3] or 0) >= synced
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

for _, r in ipairs(rooms) do
  local room, role, version = r[1], r[2], tonumber(r[3])
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
for _, m in ipairs(sent) do
  if call('HEXISTS', key('o', id), m[1]) == 0 then
    remember(id, m[1], read_parcel(m[2]), 256)
  end
end

-- What the instance passed on past Redis may have been on its way here all the same.
for _, m in ipairs(passed) do
  local k = m[1] .. '/' .. m[2]
  here[k] = here[k] or 'acknowledged'
end
-- Receipts may have been lost with a subscription, and messages with a master that had not yet told
-- its replica of them.
local told, forgotten = {}, {}
for _, m in ipairs(awaited) do
  local mid = m[1]
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
for _, m in ipairs(held) do
  local e = {
    seq = tonumber(m[1]), from = m[2], sid = m[3], mid = m[4], room = m[5], t = now, rest = m[6],
  }
  -- What Redis forgot and the client has acknowledged is settled later, when those who wait for it
  -- are back as well.
  if e.seq > acked or not intact then
    append(id, e)
  else
    here[e.sid .. '/' .. e.mid] = 'acknowledged'
  end
end
for _, e in ipairs(doubtful) do
  local state = here[e.sid .. '/' .. e.mid]
  if state ~= 'waiting' and not intact then
    settle(e.from, e.sid, e.mid, e.room, state == 'acknowledged')
  end
end
local seq, new = last, {}
for _, some in ipairs({ others, unseen }) do
  for _, e in ipairs(some) do
    local state = here[e.sid .. '/' .. e.mid]
    if state == 'acknowledged' then
      settle(e.from, e.sid, e.mid, e.room, true)
    elseif not state then
      seq = seq + 1
      e.seq = seq
      append(id, e)
      new[#new + 1] = e
    end
  end
end
call('HSET', p, 'seq', string.format('%.0f', seq))
call('ZADD', due, 'NX', now, 'q/' .. app .. '/' .. id)
return reply('ok', flat(new), told, forgotten)
