-- Numbers a message in the inboxes of its receivers and wakes their instances, at once: the order
-- on a channel is the order in the inbox.
-- peer, epoch, message id, to_room (0, 1), target, rest of the frame, patience, inbox size
local id, mid, to_room, target, rest = ARGV[3], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local patience, most = tonumber(ARGV[9]), tonumber(ARGV[10])
local status, sid = acts(id, ARGV[4])
if status ~= 'ok' then
  return reply(status)
end
local known = call('HGET', key('o', id), mid)
if known then
  local p = read_parcel(known)
  return reply('receipt', status_of(p), reason_of(p), 0, 0)
end

local receivers, places = {}, {}
local function place_of(receiver)
  return call('HMGET', key('p', receiver), 'st', 'inst', 'ep')
end
if to_room == '1' then
  if call('SISMEMBER', key('pr', id), target) == 0 then
    return reply('room_not_found')
  end
  for _, member in ipairs(call('HKEYS', key('r', target))) do
    if member ~= id then
      receivers[#receivers + 1] = member
      places[member] = place_of(member)
    end
  end
else
  local place = place_of(target)
  if place[3] then
    receivers[1], places[target] = target, place
  elseif call('EXISTS', base .. ':rebuilding') == 1 then
    return reply('rebuilding')
  end
end

local open = {}
for _, receiver in ipairs(receivers) do
  if call('XLEN', key('in', receiver)) < most then
    open[#open + 1] = receiver
  end
end
local full = #receivers - #open
if #open == 0 then
  return reply('nobody', #receivers, full)
end

local now = now_ms()
local parcel = { w = #open, r = 0, n = #receivers, room = to_room, told = '0', old = '0' }
local at, someone_away = {}, false
for _, receiver in ipairs(open) do
  local seq = call('HINCRBY', key('p', receiver), 'seq', 1)
  append(receiver, { seq = seq, from = id, sid = sid, mid = mid, room = to_room, t = now, rest = rest })
  call('ZADD', due, 'NX', now + patience, 'q/' .. app .. '/' .. receiver)
  local p = places[receiver]
  if p[1] == 'on' then
    local list = at[p[2]] or {}
    list[#list + 1] = receiver
    list[#list + 1] = p[3]
    list[#list + 1] = string.format('%.0f', seq)
    at[p[2]] = list
  else
    someone_away = true
  end
end
parcel.told = someone_away and '1' or '0'
remember(id, mid, parcel, most)
for inst, list in pairs(at) do
  local head = table.concat({ 'm', app, id, sid, mid, to_room, #list / 3 }, '\n')
  publish(inst, head .. '\n' .. table.concat(list, '\n') .. '\n' .. rest)
end
if someone_away then
  return reply('receipt', status_of(parcel), reason_of(parcel), #open, full)
end
return reply('ok', #open, full)
