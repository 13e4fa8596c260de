-- after, limit
local after = ARGV[3] == '' and '-' or '(' .. ARGV[3]
local ids = call('ZRANGEBYLEX', of_app('peers'), after, '+', 'LIMIT', 0, tonumber(ARGV[4]))
local values = {}
for _, id in ipairs(ids) do
  local p = call('HMGET', key('p', id), 'meta', 'st')
  values[#values + 1] = id
  values[#values + 1] = p[1] or '{}'
  values[#values + 1] = p[2] or 'away'
end
return reply('ok', values)
