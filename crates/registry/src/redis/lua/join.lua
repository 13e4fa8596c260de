-- peer, epoch, room, role, rooms per peer, members per room
local id, room, role = ARGV[3], ARGV[5], ARGV[6]
local status = acts(id, ARGV[4])
if status ~= 'ok' then
  return reply(status)
end
if call('SISMEMBER', key('pr', id), room) == 0 then
  if call('SCARD', key('pr', id)) >= tonumber(ARGV[7]) then
    return reply('too_many_rooms')
  end
  if call('HLEN', key('r', room)) >= tonumber(ARGV[8]) then
    return reply('room_full')
  end
  -- The newcomer learns of itself from the snapshot: it becomes a member after the event.
  announce_in(room, id, 'join', call('HGET', key('p', id), 'meta'))
  call('SADD', key('pr', id), room)
  call('HSET', key('r', room), id, role)
  call('ZADD', of_app('rooms'), 0, room)
end
local version, members = view_of(room)
return reply('ok', version, members)
