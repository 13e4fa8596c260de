-- Puts peers of a dead instance away, some at a time.
-- (app is empty), instance, window, how many at most
local inst, window, most = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local members = call('SRANDMEMBER', of_instance(inst), most)
for _, member in ipairs(members) do
  local of, id = string.match(member, '^([^/]*)/(.*)$')
  app = of
  local p = call('HMGET', key('p', id), 'st', 'inst')
  if p[1] == 'on' and p[2] == inst then
    go_away(id, inst, window)
  else
    call('SREM', of_instance(inst), member)
  end
end
return reply('ok', #members)
