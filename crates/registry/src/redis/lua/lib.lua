-- What every script begins with: numbers, messages, receipts. All keys of a script share the hash tag in KEYS[1], which is the
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

local due = base .. ':due'

-- Numbers of messages: Redis counts by one; what passes it by while it is away begins a new round.
local ROUND, MAX_SEQ = 4294967296, 4503599627370496

local function round_of(seq)
  return math.floor(seq / ROUND)
end

-- The clock stands still while a script runs.
local clock
local function now_us()
  if not clock then
    local time = call('TIME')
    clock = time[1] * 1000000 + time[2]
  end
  return clock
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
  return heard > 0
end

local function reply(...)
  local names = {}
  for inst in pairs(suspects) do
    names[#names + 1] = inst
  end
  return { names, ... }
end

-- Invariant I1: 'ok' for the current owner, and its session. 'unknown' is a peer that is not there at
-- all. The owner acts: it has its newest secret, and the one before is void.
local function acts(id, ep)
  local current = call('HMGET', key('p', id), 'ep', 'sec0', 'sid')
  if current[1] == ep and current[2] then
    call('HDEL', key('p', id), 'sec0')
  end
  if not current[1] then
    return 'unknown'
  end
  return current[1] == ep and 'ok' or 'not_owner', current[3]
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

-- The session that sent a message, if there is no later one of its peer.
local function sender_of(from, sid)
  local sender = call('HMGET', key('p', from), 'sid', 'st', 'inst', 'ep')
  return sender[1] == sid and sender or nil
end

-- Says whether nobody heard it who should have.
local function send_receipt(sender, from, mid, p)
  if sender[2] ~= 'on' then
    return false
  end
  local status, reason = status_of(p), reason_of(p)
  local frame = '{"type":"receipt","id":' .. cjson.encode(mid) .. ',"status":"' .. status .. '"'
  if reason ~= '' then
    frame = frame .. ',"reason":"' .. reason .. '"'
  end
  local head = table.concat({ 'c', app, from, sender[4], mid, status }, '\n')
  return not publish(sender[3], head .. '\n' .. frame .. '}')
end

-- One receiver acknowledged a message or is gone. The log dies with the sender's session.
local function settle(from, sid, mid, room, reached)
  local sender = sender_of(from, sid)
  if not sender then
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
  local missed = p.w == 0 and send_receipt(sender, from, mid, p)
  -- The sender's instance asks for what it missed when it hears again.
  if p.w == 0 and p.old == '1' and not missed then
    call('HDEL', key('o', from), mid)
  else
    keep_parcel(from, mid, p)
  end
end

-- Log of the last messages of a session. An undecided parcel stays when it leaves the list.
local function remember(from, mid, p, most)
  keep_parcel(from, mid, p)
  if call('RPUSH', key('oo', from), mid) > most then
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
