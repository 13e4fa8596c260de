-- room
if call('EXISTS', key('r', ARGV[3])) == 0 then
  return reply('nobody')
end
local version, members = view_of(ARGV[3])
return reply('ok', version, members)
