-- Whom the instance owns by what is written here: app/peer and epoch each.
-- (app is empty), instance
local values = {}
for _, member in ipairs(call('SMEMBERS', of_instance(ARGV[3]))) do
  local of, id = string.match(member, '^([^/]*)/(.*)$')
  app = of
  values[#values + 1] = of
  values[#values + 1] = id
  values[#values + 1] = call('HGET', key('p', id), 'ep') or '0'
end
return reply('ok', values)
