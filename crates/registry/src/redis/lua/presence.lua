-- Coming and going: what rooms, watchers and senders are told of a peer. Every script but those of
-- each message has it too: to make these functions takes Redis as long as some of its commands.

local function of_app(kind)
  return base .. ':' .. kind .. ':' .. app
end

local function of_instance(inst)
  return base .. ':of:' .. inst
end

-- Invariant I1: 'ok' for the current owner. 'unknown' is a peer that is not there at all.
local function check(id, ep)
  local current = call('HGET', key('p', id), 'ep')
  if not current then
    return 'unknown'
  end
  return current == ep and 'ok' or 'not_owner'
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

-- Counts a change of a room and tells its members. Says how many.
local function announce_in(room, id, event, meta)
  local version = call('INCR', key('v', room))
  local frame = '{"type":"room","room":' .. cjson.encode(room) .. ',"event":"' .. event
    .. '","peer":' .. cjson.encode(id)
  if meta then
    frame = frame .. ',"meta":' .. meta
  end
  frame = frame .. ',"version":' .. version .. '}'
  local members = call('HKEYS', key('r', room))
  tell(members, room .. '/' .. version, frame)
  return #members
end

local function announce(id, event, meta)
  local told = 0
  for _, room in ipairs(call('SMEMBERS', key('pr', id))) do
    told = told + announce_in(room, id, event, meta)
  end
  return told
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

-- Tells the senders of what waits since `before` or longer that it is queued. Returns the time of
-- the oldest message that has waited less.
local function tell_queued(id, before)
  for _, e in ipairs(entries(id, '-', '+')) do
    if e.t > before then
      return e.t
    end
    local text = call('HGET', key('o', e.from), e.mid)
    local p = text and read_parcel(text)
    local sender = p and p.told == '0' and sender_of(e.from, e.sid)
    if sender then
      p.told = '1'
      keep_parcel(e.from, e.mid, p)
      send_receipt(sender, e.from, e.mid, p)
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
