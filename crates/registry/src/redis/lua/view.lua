-- A room's version and its members: four values each.
local function view_of(room)
  local values = {}
  local members = call('HGETALL', key('r', room))
  for i = 1, #members, 2 do
    local p = call('HMGET', key('p', members[i]), 'meta', 'st')
    if p[1] then
      values[#values + 1] = members[i]
      values[#values + 1] = members[i + 1]
      values[#values + 1] = p[1]
      values[#values + 1] = p[2]
    end
  end
  return tonumber(call('GET', key('v', room)) or 0), values
end
