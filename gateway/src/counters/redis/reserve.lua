-- Takes all measures of a hook for one request: the counterpart of counters/local.
--
-- KEYS: those of each measure, in turn. ARGV: the request's name, when it arrived, when this was asked,
-- how many are known by name, and for each measure its kind and its numbers. Answers what was added, a
-- bit a measure, and then what was measured. Lua counts in doubles, which are exact up to 2^53.

local request, now, asked_at, named_max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local keys_read, words_read = 0, 4

-- A gateway whose clock is off by more than this goes by Redis's, or it would spoil what is measured for all.
local CLOCK_OFF_MS_MAX = 250
local clock = redis.call('TIME')
local clock_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local off = clock_ms - asked_at
if math.abs(off) > CLOCK_OFF_MS_MAX then now = now + off end

local function key()
  keys_read = keys_read + 1
  return KEYS[keys_read]
end

local function word()
  words_read = words_read + 1
  return ARGV[words_read]
end

local function number()
  return tonumber(word())
end

local function text(integer)
  return string.format('%.0f', integer)
end

local function two(stored)
  local first, second = string.match(stored, '^(%S+) (%S+)$')
  return tonumber(first), tonumber(second)
end

-- A count. The newest requests are a sorted set of names. A score is the millisecond times this, and
-- greater than every score before it: so the set stands in the order in which requests were taken,
-- and one whose clock is behind takes nobody's place, but stays until the one before it goes. More
-- in one millisecond borrow from the next. Exact until the year 2248.
local TICKS_PER_MS = 1024

-- The others are a list: how many they are, and then the steps, `when how-many`, from the oldest on.
local function slide(older, window_ms)
  local requests = tonumber(redis.call('LINDEX', older, 0) or 0)
  while requests > 0 and window_ms > 0 do
    local step_at, step_requests = two(redis.call('LINDEX', older, 1))
    if math.abs(now - step_at) < window_ms then break end
    redis.call('LPOP', older)
    redis.call('LPOP', older)
    requests = requests - step_requests
    if requests > 0 then redis.call('LPUSH', older, text(requests)) end
  end
  return requests
end

local function make_the_oldest_a_number(named, older, requests, window_ms, step_ms)
  local at = math.floor(tonumber(redis.call('ZPOPMIN', named)[2]) / TICKS_PER_MS)
  if requests == 0 then
    redis.call('RPUSH', older, 1, text(at) .. ' 1')
    return
  end
  local step_at, step_requests = two(redis.call('LINDEX', older, -1))
  if window_ms == 0 or at - step_at <= step_ms then
    redis.call('LSET', older, -1, text(step_at) .. ' ' .. text(step_requests + 1))
  else
    redis.call('RPUSH', older, text(at) .. ' 1')
  end
  redis.call('LSET', older, 0, text(requests + 1))
end

local function count()
  local named, older = key(), key()
  local window_ms, step_ms, ttl_ms = number(), number(), word()
  if window_ms > 0 then
    redis.call('ZREMRANGEBYSCORE', named, '-inf', '(' .. text((now - window_ms + 1) * TICKS_PER_MS))
    -- From further in the future than the window is long: taken before a clock was put back.
    redis.call('ZREMRANGEBYSCORE', named, text((now + window_ms) * TICKS_PER_MS), '+inf')
  end
  local requests = slide(older, window_ms)
  local rank = redis.call('ZRANK', named, request)
  if rank then return requests + rank + 1, false end

  local score = now * TICKS_PER_MS
  local last = redis.call('ZRANGE', named, -1, -1, 'WITHSCORES')[2]
  if last then score = math.max(score, tonumber(last) + 1) end
  redis.call('ZADD', named, text(score), request)
  local known = redis.call('ZCARD', named)
  local place = requests + known
  if known > named_max then
    make_the_oldest_a_number(named, older, requests, window_ms, step_ms)
    requests = requests + 1
  end
  redis.call('PEXPIRE', named, ttl_ms)
  if requests > 0 then redis.call('PEXPIRE', older, ttl_ms) end
  return place, true
end

-- A bucket is the moment at which it is full again, `milliseconds parts`, and when the latest came that took
-- of it; a millisecond has as many parts as the rate has requests, and so nothing is rounded but the answer.
-- Who comes late finds it as the latest left it. When the clock itself is behind that, it was put back.
local CLOCK_JITTER_MS_MAX = 1000

local function is_later(ms, parts, than_ms, than_parts)
  return ms > than_ms or (ms == than_ms and parts > than_parts)
end

local function bucket()
  local name = key()
  local rate, token_ms, token_parts, full_ms, full_parts = number(), number(), number(), number(), number()
  local late_ms, ttl_ms_max = number(), number()
  local came_ms, at_ms, at_parts, is_put_back = now, now, 0, false

  local function keep()
    local ttl_ms = math.min(at_ms - came_ms + late_ms, ttl_ms_max)
    local words = text(at_ms) .. ' ' .. text(at_parts) .. ' ' .. text(came_ms)
    redis.call('SET', name, words, 'PX', text(math.max(ttl_ms, 1)))
  end

  local stored = redis.call('GET', name)
  if stored then
    local ms, parts, latest_ms = string.match(stored, '^(%S+) (%S+) (%S+)$')
    ms, parts, latest_ms = tonumber(ms), tonumber(parts), tonumber(latest_ms)
    is_put_back = latest_ms - math.max(now, clock_ms) > CLOCK_JITTER_MS_MAX
    if not is_put_back then came_ms = math.max(now, latest_ms) end
    at_ms = came_ms
    if is_later(ms, parts, at_ms, 0) then at_ms, at_parts = ms, parts end
    -- Nobody waits for an old clock to come round: an empty bucket is the most that can be release_queue.
    if is_later(at_ms, at_parts, came_ms + full_ms, full_parts) then at_ms, at_parts = came_ms + full_ms, full_parts end
  end

  local full_after_ms, full_after_parts = at_ms + token_ms, at_parts + token_parts
  if full_after_parts >= rate then
    full_after_ms, full_after_parts = full_after_ms + 1, full_after_parts - rate
  end
  if is_later(full_after_ms, full_after_parts, came_ms + full_ms, full_parts) then
    if is_put_back then keep() end
    local wait_ms = full_after_ms - came_ms - full_ms
    if full_after_parts > full_parts then wait_ms = wait_ms + 1 end
    return math.min(wait_ms, 4294967295), false
  end
  at_ms, at_parts = full_after_ms, full_after_parts
  keep()
  return 0, true
end

local function sequence()
  local name, ttl_ms = key(), word()
  local next_number = redis.call('INCR', name)
  redis.call('PEXPIRE', name, ttl_ms)
  return next_number - 1, false
end

local take = { count = count, bucket = bucket, sequence = sequence }
local answer = { 0 }
while words_read < #ARGV do
  local measured, is_new = take[word()]()
  answer[#answer + 1] = measured
  if is_new then answer[1] = answer[1] + 2 ^ (#answer - 2) end
end
return answer
