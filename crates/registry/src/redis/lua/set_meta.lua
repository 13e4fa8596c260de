-- peer, epoch, meta
local status = acts(ARGV[3], ARGV[4])
if status == 'ok' then
  call('HSET', key('p', ARGV[3]), 'meta', ARGV[5])
  return reply(status, announce(ARGV[3], 'meta', ARGV[5]))
end
return reply(status)
