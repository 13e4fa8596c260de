-- peer, epoch, seq
local status = acts(ARGV[3], ARGV[4])
if status == 'ok' then
  acknowledge(ARGV[3], tonumber(ARGV[5]))
end
return reply(status)
