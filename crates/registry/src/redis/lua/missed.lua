-- The messages behind one: peer, epoch, seq
local status = check(ARGV[3], ARGV[4])
if status ~= 'ok' then
  return reply(status)
end
return reply('ok', flat(entries(ARGV[3], string.format('%.0f-0', tonumber(ARGV[5]) + 1), '+')))
