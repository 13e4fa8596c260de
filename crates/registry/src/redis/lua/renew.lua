-- Renews an instance's lease. Says whether it lasted, and whose have ended: of one that had ended, and
-- of one that its reaper has ended (`leases.rs`), some peers may be away.
-- KEYS: leases; instance, lease in ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
local known = ends and tonumber(ends) > now and 1 or 0
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
local ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 16)
return { {}, 'ok', known, ended }
