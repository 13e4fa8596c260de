-- Does what is due in this shard. Whoever takes an entry out has won it: no two instances do the
-- same.
-- (app is empty), patience, how many at most
local patience, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()
local expired = 0
for _, member in ipairs(call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)) do
  call('ZREM', due, member)
  local what, of, id = string.match(member, '^(%a)/([^/]*)/(.*)$')
  app = of
  local p = call('HMGET', key('p', id), 'st', 'until')
  if what == 'w' then
    if p[1] == 'away' and tonumber(p[2]) <= now then
      remove(id)
      expired = expired + 1
    end
  elseif p[1] then
    local later = tell_queued(id, now - patience)
    if later then
      call('ZADD', due, later + patience, member)
    end
  end
end
return reply('ok', expired)
