-- peer, epoch, window
local id, window = ARGV[3], tonumber(ARGV[5])
local status = check(id, ARGV[4])
if status == 'ok' then
  local p = call('HMGET', key('p', id), 'st', 'inst')
  -- Its instance may have been found dead meanwhile; then the window is open already.
  if p[1] == 'on' then
    go_away(id, p[2], window)
  end
end
return reply(status)
