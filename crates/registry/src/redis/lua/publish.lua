-- peer, epoch, what it publishes
local status = acts(ARGV[3], ARGV[4])
if status == 'ok' then
  call('HSET', key('p', ARGV[3]), 'pub', ARGV[5])
end
return reply(status)
