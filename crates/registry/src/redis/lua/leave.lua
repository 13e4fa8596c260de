-- peer, epoch, room
local id, room = ARGV[3], ARGV[5]
local status = acts(id, ARGV[4])
if status == 'ok' then
  if call('SREM', key('pr', id), room) == 0 then
    return reply('room_not_found')
  end
  take_from_room(room, id)
end
return reply(status)
