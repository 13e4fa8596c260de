-- What every script begins with. All keys of a script share the hash tag in KEYS[1], which is the
-- shard of the app: a script changes an app's peers, rooms and inboxes at once or not at all.
--
--   <base>:p:<app>/<peer>   HASH    ep sid sec sec0 st inst until meta key pub seq
--   <base>:in:<app>/<peer>  STREAM  the inbox; the id is the message's number
--   <base>:o:<app>/<peer>   HASH    message id -> parcel: what became of what the session sent
--   <base>:oo:<app>/<peer>  LIST    those ids, oldest first
--   <base>:pr:<app>/<peer>  SET     the peer's rooms
--   <base>:r:<app>/<room>   HASH    member -> role
--   <base>:v:<app>/<room>   STRING  the room's version
--   <base>:peers:<app>      ZSET    all peers, by name     <base>:rooms:<app>  ZSET  all rooms
--   <base>:of:<instance>    SET     app/peer of whom the instance owns
--   <base>:due              ZSET    what is to be done when, in ms
--   <base>:w:<app>/<peer>   HASH    attempt -> the instance that watches it
--   <base>:at:<instance>    HASH    app/attempt -> what the instance knows of it
--   <base>:rebuilding       STRING  there for a while after an instance found its peers lost
--
--   <base>:i:<instance>     CHANNEL in a cluster: sharded, so that it is at the node of the keys
--
-- Ids have neither `/` nor braces nor control characters (p2p-wire checks them).
local base, app = KEYS[1], ARGV[1]
local channel_prefix = ARGV[2]
local call = redis.call

local function key(kind, id)
  return base .. ':' .. kind .. ':' .. app .. '/' .. id
end

local function of_app(kind)
  return base .. ':' .. kind .. ':' .. app
end

local function of_instance(inst)
  return base .. ':of:' .. inst
end

local due = base .. ':due'

-- Numbers of messages: Redis counts by one; what passes it by while it is away begins a new round.
local ROUND, MAX_SEQ = 4294967296, 4503599627370496

local function round_of(seq)
  return math.floor(seq / ROUND)
end

local function now_us()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

local function now_ms()
  return math.floor(now_us() / 1000)
end

-- Instances whose channel had no subscriber: restarting, or dead.
local suspects = {}

local function publish(inst, event)
  local heard
  if channel_prefix == '' then
    heard = call('SPUBLISH', base .. ':i:' .. inst, event)
  else
    heard = call('PUBLISH', channel_prefix .. inst, event)
  end
  if heard == 0 then
    suspects[inst] = true
  end
end

local function reply(...)
  local names = {}
  for inst in pairs(suspects) do
    names[#names + 1] = inst
  end
  return { names, ... }
end

-- Invariant I1: 'ok' for the current owner. 'unknown' is a peer that is not there at all.
local function check(id, ep)
  local current = call('HGET', key('p', id), 'ep')
  if not current then
    return 'unknown'
  end
  return current == ep and 'ok' or 'not_owner'
end

-- The owner acts: it has its newest secret, and the one before is void.
local function acts(id, ep)
  local current = call('HMGET', key('p', id), 'ep', 'sec0')
  if current[1] == ep and current[2] then
    call('HDEL', key('p', id), 'sec0')
  end
  if not current[1] then
    return 'unknown'
  end
  return current[1] == ep and 'ok' or 'not_owner'
end

-- Hands a frame to those of the peers that are connected: one publish per instance.
-- `mark` is `room/version` of a room's event, and `-` of anything else.
local function tell(ids, mark, frame)
  local at = {}
  for _, id in ipairs(ids) do
    local p = call('HMGET', key('p', id), 'st', 'inst', 'ep')
    if p[1] == 'on' then
      local list = at[p[2]] or {}
      list[#list + 1] = id
      list[#list + 1] = p[3]
      at[p[2]] = list
    end
  end
  for inst, list in pairs(at) do
    local head = table.concat({ 'f', app, mark, #list / 2 }, '\n')
    publish(inst, head .. '\n' .. table.concat(list, '\n') .. '\n' .. frame)
  end
end

-- Counts a change of a room and tells its members.
local function announce_in(room, id, event, meta)
  local version = call('INCR', key('v', room))
  local frame = '{"type":"room","room":' .. cjson.encode(room) .. ',"event":"' .. event
    .. '","peer":' .. cjson.encode(id)
  if meta then
    frame = frame .. ',"meta":' .. meta
  end
  frame = frame .. ',"version":' .. version .. '}'
  tell(call('HKEYS', key('r', room)), room .. '/' .. version, frame)
end

local function announce(id, event, meta)
  for _, room in ipairs(call('SMEMBERS', key('pr', id))) do
    announce_in(room, id, event, meta)
  end
end

-- Tells the instances that watch attempts of a peer where it is now: on, away, gone.
local function tell_watchers(id, where)
  local at = {}
  local watched = call('HGETALL', key('w', id))
  for i = 1, #watched, 2 do
    at[watched[i + 1]] = (at[watched[i + 1]] or '') .. '\n' .. watched[i]
  end
  for inst, attempts in pairs(at) do
    publish(inst, table.concat({ 'w', app, id, where }, '\n') .. attempts)
  end
end

local function take_from_room(room, id)
  call('HDEL', key('r', room), id)
  if call('HLEN', key('r', room)) == 0 then
    call('DEL', key('v', room))
    call('ZREM', of_app('rooms'), room)
  else
    announce_in(room, id, 'leave')
  end
end

-- A parcel is one `send`, in one inbox or in those of a room: how many receivers it waits for, how
-- many it reached, how many there were, whether it went to a room, whether the sender was told
-- `queued`, whether it has left the list of the last ones.
local function read_parcel(text)
  local w, r, n, room, told, old = string.match(text, '(%d+) (%d+) (%d+) (%d) (%d) (%d)')
  return { w = tonumber(w), r = tonumber(r), n = tonumber(n), room = room, told = told, old = old }
end

local function keep_parcel(from, mid, p)
  local text = table.concat({ p.w, p.r, p.n, p.room, p.told, p.old }, ' ')
  call('HSET', key('o', from), mid, text)
end

local function status_of(p)
  if p.w > 0 then
    return 'queued'
  end
  return p.r > 0 and 'delivered' or 'gone'
end

local function reason_of(p)
  return p.room == '1' and (p.r .. ' of ' .. p.n .. ' members') or ''
end

-- A receipt goes to the session that sent the message, and to no later one of its peer.
local function send_receipt(from, sid, mid, p)
  local sender = call('HMGET', key('p', from), 'sid', 'st', 'inst', 'ep')
  if sender[1] ~= sid or sender[2] ~= 'on' then
    return
  end
  local status, reason = status_of(p), reason_of(p)
  local frame = '{"type":"receipt","id":' .. cjson.encode(mid) .. ',"status":"' .. status .. '"'
  if reason ~= '' then
    frame = frame .. ',"reason":"' .. reason .. '"'
  end
  local head = table.concat({ 'c', app, from, sender[4], mid, status }, '\n')
  publish(sender[3], head .. '\n' .. frame .. '}')
end

-- One receiver acknowledged a message or is gone. The log dies with the sender's session.
local function settle(from, sid, mid, room, reached)
  if call('HGET', key('p', from), 'sid') ~= sid then
    return
  end
  local text = call('HGET', key('o', from), mid)
  local p
  if text then
    p = read_parcel(text)
    if p.w == 0 then
      return
    end
  elseif room == '1' then
    return
  else
    -- The log was lost with Redis's data; a message to one peer needs none.
    p = { w = 1, r = 0, n = 1, room = '0', told = '0', old = '1' }
  end
  p.w = p.w - 1
  if reached then
    p.r = p.r + 1
  end
  if p.w == 0 and p.old == '1' then
    call('HDEL', key('o', from), mid)
  else
    keep_parcel(from, mid, p)
  end
  if p.w == 0 then
    send_receipt(from, sid, mid, p)
  end
end

-- Log of the last messages of a session. An undecided parcel stays when it leaves the list.
local function remember(from, mid, p, most)
  keep_parcel(from, mid, p)
  call('RPUSH', key('oo', from), mid)
  if call('LLEN', key('oo', from)) > most then
    local oldest = call('LPOP', key('oo', from))
    local text = call('HGET', key('o', from), oldest)
    local old = text and read_parcel(text)
    if old and old.w == 0 then
      call('HDEL', key('o', from), oldest)
    elseif old then
      old.old = '1'
      keep_parcel(from, oldest, old)
    end
  end
end

-- The inbox from `first` to `last`, as tables.
local function entries(id, first, last)
  local found = {}
  for _, entry in ipairs(call('XRANGE', key('in', id), first, last)) do
    local f = entry[2]
    found[#found + 1] = {
      seq = tonumber(string.match(entry[1], '^%d+')),
      from = f[2], sid = f[4], mid = f[6], room = f[8], t = tonumber(f[10]), rest = f[12],
    }
  end
  return found
end

local function append(id, e)
  call('XADD', key('in', id), string.format('%.0f-0', e.seq),
    'f', e.from, 'i', e.sid, 'm', e.mid, 'g', e.room, 't', e.t, 'b', e.rest)
end

-- What a script returns of messages: six values each.
local function flat(list)
  local values = {}
  for _, e in ipairs(list) do
    values[#values + 1] = e.seq
    values[#values + 1] = e.from
    values[#values + 1] = e.sid
    values[#values + 1] = e.mid
    values[#values + 1] = e.room
    values[#values + 1] = e.rest
  end
  return values
end

-- Everything up to `seq` has arrived.
local function acknowledge(id, seq)
  if seq <= 0 then
    return
  end
  local done = entries(id, '-', string.format('%.0f-0', seq))
  if #done == 0 then
    return
  end
  call('XTRIM', key('in', id), 'MINID', string.format('%.0f-0', seq + 1))
  for _, e in ipairs(done) do
    settle(e.from, e.sid, e.mid, e.room, true)
  end
end

-- Tells the senders of what waits since `before` or longer that it is queued. Returns the time of
-- the oldest message that has waited less.
local function tell_queued(id, before)
  for _, e in ipairs(entries(id, '-', '+')) do
    if e.t > before then
      return e.t
    end
    local text = call('HGET', key('o', e.from), e.mid)
    local p = text and read_parcel(text)
    if p and p.told == '0' and call('HGET', key('p', e.from), 'sid') == e.sid then
      p.told = '1'
      keep_parcel(e.from, e.mid, p)
      send_receipt(e.from, e.sid, e.mid, p)
    end
  end
  return nil
end

-- Takes a peer out: its rooms hear `leave`, and those who wrote to it that it is gone.
local function remove(id)
  local inst = call('HGET', key('p', id), 'inst')
  local waiting = entries(id, '-', '+')
  local rooms = call('SMEMBERS', key('pr', id))
  tell_watchers(id, 'gone')
  call('DEL', key('p', id), key('in', id), key('o', id), key('oo', id), key('pr', id), key('w', id))
  call('ZREM', of_app('peers'), id)
  call('ZREM', due, 'w/' .. app .. '/' .. id, 'q/' .. app .. '/' .. id)
  if inst then
    call('SREM', of_instance(inst), app .. '/' .. id)
  end
  for _, room in ipairs(rooms) do
    take_from_room(room, id)
  end
  for _, e in ipairs(waiting) do
    settle(e.from, e.sid, e.mid, e.room, false)
  end
end

-- The WebSocket is lost: the peer is away while its window is open.
local function go_away(id, inst, window)
  local now = now_ms()
  call('HSET', key('p', id), 'st', 'away', 'until', now + window)
  call('SREM', of_instance(inst), app .. '/' .. id)
  call('ZADD', due, now + window, 'w/' .. app .. '/' .. id)
  announce(id, 'away')
  tell_watchers(id, 'away')
  tell_queued(id, now)
end
