-- Does what is due in these shards. Whoever takes an entry out has won it: no two instances do the
-- same. One instance is on duty, until it has not come back for `grace` ms; the others only ask
-- whether it still is.
-- KEYS: the shards; (app is empty), instance, patience, how many of a shard at most,
-- shortest and longest wait, grace
local inst, patience, most = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local shortest, longest, grace = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local duty = base .. ':duty'
local holder = call('GET', duty)
if holder and holder ~= inst then
  return reply('ok', 0, math.max(call('PTTL', duty), shortest))
end
local now = now_ms()
local expired, wait, more = 0, longest, false
for _, shard in ipairs(KEYS) do
  base, due = shard, shard .. ':due'
  local members = call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)
  more = more or #members == most
  for _, member in ipairs(members) do
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
  local next = call('ZRANGEBYSCORE', due, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if next[2] then
    wait = math.min(wait, tonumber(next[2]) - now)
  end
end
wait = more and 0 or math.max(wait, shortest)
call('SET', duty, inst, 'PX', wait + grace)
return reply('ok', expired, wait)
