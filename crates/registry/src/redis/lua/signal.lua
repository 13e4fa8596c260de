-- peer, frame
local p = call('HMGET', key('p', ARGV[3]), 'st', 'inst', 'ep')
if p[1] ~= 'on' then
  return reply('nobody')
end
publish(p[2], table.concat({ 'f', app, '-', '1', ARGV[3], p[3] }, '\n') .. '\n' .. ARGV[4])
return reply(next(suspects) and 'nobody' or 'ok')
