-- instance, attempt, caller, callee
for i = 5, 6 do
  if call('HGET', key('w', ARGV[i]), ARGV[4]) == ARGV[3] then
    call('HDEL', key('w', ARGV[i]), ARGV[4])
  end
end
call('HDEL', base .. ':at:' .. ARGV[3], app .. '/' .. ARGV[4])
return reply('ok')
