-- peer, epoch
local status = check(ARGV[3], ARGV[4])
if status == 'ok' then
  remove(ARGV[3])
end
return reply(status)
