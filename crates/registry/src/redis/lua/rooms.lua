-- after, limit
local after = ARGV[3] == '' and '-' or '(' .. ARGV[3]
local names = call('ZRANGEBYLEX', of_app('rooms'), after, '+', 'LIMIT', 0, tonumber(ARGV[4]))
local values = {}
for _, room in ipairs(names) do
  values[#values + 1] = room
  values[#values + 1] = call('HLEN', key('r', room))
end
return reply('ok', values)
