-- An instance goes on with what a dead one watched in this shard. It is written down as its own at
-- once: if it dies as well, the next one finds it.
-- (app is empty), the dead instance, the heir, how long to keep it in ms
local from, to = base .. ':at:' .. ARGV[3], base .. ':at:' .. ARGV[4]
local values = {}
local kept = call('HGETALL', from)
for i = 1, #kept, 2 do
  call('HSET', to, kept[i], kept[i + 1])
  values[#values + 1] = kept[i + 1]
end
call('DEL', from)
if #values > 0 then
  call('PEXPIRE', to, tonumber(ARGV[5]))
end
return reply('ok', values)
