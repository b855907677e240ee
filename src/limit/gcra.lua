-- All limits of one request at once. Each key holds the time, in microseconds, until which an allowance is used up.
-- ARGV: the time (0: the server's), then for each key: what is owed, what is asked for, how far ahead of now the time may lie
-- (-1: any), and how far ahead it is believed to lie at most (-1: any), all in microseconds of the allowance.
-- What is owed has passed and is taken whether or not it is there; what is asked for is taken from all keys or from none.
-- Answers 1 or 0, then for each key how far ahead its time lies now.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local allowed = 1
local untils = {}
for i, key in ipairs(KEYS) do
  local owed, asked = tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1])
  local room, most = tonumber(ARGV[4 * i]), tonumber(ARGV[4 * i + 1])
  local used = tonumber(redis.call('GET', key) or '') or now
  if used < now then used = now end
  -- A server whose clock was set back, or that took over from one with another clock, must not refuse for as long.
  if most >= 0 and used - now > most then used = now + most end
  used = used + owed
  if room >= 0 and used + asked - now > room then allowed = 0 end
  untils[i] = used
end
local answer = { allowed }
for i, key in ipairs(KEYS) do
  local owed, asked = tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1])
  local used = untils[i]
  if allowed == 1 then used = used + asked end
  local ahead = used - now
  if ahead > 0 and (owed > 0 or (allowed == 1 and asked > 0)) then
    redis.call('SET', key, string.format('%.0f', used), 'PX', string.format('%.0f', math.ceil(ahead / 1000)))
  end
  answer[i + 1] = ahead
end
return answer
