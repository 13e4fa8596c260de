-- An instance watches an attempt: it hears what becomes of both sides, and what it knows of the
-- attempt is kept for the one that goes on with it if the instance dies.
-- instance, attempt, caller, callee, what is known, how long to keep it in ms, attempts per peer
local inst, attempt, keep, most = ARGV[3], ARGV[4], tonumber(ARGV[8]), tonumber(ARGV[9])
local states = {}
for i = 5, 6 do
  local id = ARGV[i]
  local state = call('HGET', key('p', id), 'st')
  local watched = key('w', id)
  if state and (call('HLEN', watched) < most or call('HEXISTS', watched, attempt) == 1) then
    call('HSET', watched, attempt, inst)
    call('PEXPIRE', watched, keep)
  end
  states[#states + 1] = state or 'gone'
end
local attempts = base .. ':at:' .. inst
call('HSET', attempts, app .. '/' .. attempt, ARGV[7])
call('PEXPIRE', attempts, keep)
return reply('ok', states[1], states[2])
