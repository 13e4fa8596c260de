-- peer
local p = call('HMGET', key('p', ARGV[3]), 'st', 'meta', 'key', 'pub')
if not p[1] then
  return reply('nobody')
end
return reply('ok', p[1], p[2], p[3], p[4])
