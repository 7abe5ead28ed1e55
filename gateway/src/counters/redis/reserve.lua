-- Takes all measures of a hook for one request: the counterpart of counters/local.
--
-- KEYS: the idempotency key if there is one, then those of each measure, in order. ARGV: the request id, its arrival
-- time, the gateway's clock at the call, the number of ids to track, `key`, the claimant and the TTL if there is a key,
-- then for each measure its kind and its numbers. Answers the state of the key, a bit mask of the measures that added
-- something, then one number per measure. Lua numbers are doubles, which are exact up to 2^53.

local request_id, now_ms = ARGV[1], tonumber(ARGV[2])
local gateway_clock_ms, tracked_max = tonumber(ARGV[3]), tonumber(ARGV[4])
local keys_read, args_read = 0, 4

-- A gateway whose clock is off by more than this is corrected to Redis's clock: its times would distort the counters of
-- all gateways. Less can be the time that the call took to get here.
local CLOCK_OFFSET_MS_MAX = 250
local redis_clock = redis.call('TIME')
local redis_clock_ms = redis_clock[1] * 1000 + math.floor(redis_clock[2] / 1000)
local clock_offset_ms = redis_clock_ms - gateway_clock_ms
if math.abs(clock_offset_ms) > CLOCK_OFFSET_MS_MAX then now_ms = now_ms + clock_offset_ms end

local function next_key()
  keys_read = keys_read + 1
  return KEYS[keys_read]
end

local function next_arg()
  args_read = args_read + 1
  return ARGV[args_read]
end

local function next_number()
  return tonumber(next_arg())
end

local function format_integer(integer)
  return string.format('%.0f', integer)
end

local function parse_pair(stored)
  local first, second = string.match(stored, '^(%S+) (%S+)$')
  return tonumber(first), tonumber(second)
end

-- A count tracks its newest requests by id, in a sorted set. A score is the arrival time in ticks, raised if necessary
-- above every score before it: so the set is in the order in which requests were counted, and one whose clock is behind
-- takes no other's number, but stays until the one before it leaves. Requests beyond 1024 in one millisecond borrow
-- ticks from the next. Exact until the year 2248.
local TICKS_PER_MS = 1024

-- Older requests are aggregated in a list: their number, and then the steps, `time requests`, the oldest first.
local function expire_steps(aggregated, window_ms)
  local requests = tonumber(redis.call('LINDEX', aggregated, 0) or 0)
  while requests > 0 and window_ms > 0 do
    local step_at, step_requests = parse_pair(redis.call('LINDEX', aggregated, 1))
    if math.abs(now_ms - step_at) < window_ms then break end
    redis.call('LPOP', aggregated)
    redis.call('LPOP', aggregated)
    requests = requests - step_requests
    if requests > 0 then redis.call('LPUSH', aggregated, format_integer(requests)) end
  end
  return requests
end

local function aggregate_oldest(tracked, aggregated, requests, window_ms, step_ms)
  local at = math.floor(tonumber(redis.call('ZPOPMIN', tracked)[2]) / TICKS_PER_MS)
  if requests == 0 then
    redis.call('RPUSH', aggregated, 1, format_integer(at) .. ' 1')
    return
  end
  local step_at, step_requests = parse_pair(redis.call('LINDEX', aggregated, -1))
  if window_ms == 0 or at - step_at <= step_ms then
    redis.call('LSET', aggregated, -1, format_integer(step_at) .. ' ' .. format_integer(step_requests + 1))
  else
    redis.call('RPUSH', aggregated, format_integer(at) .. ' 1')
  end
  redis.call('LSET', aggregated, 0, format_integer(requests + 1))
end

local function reserve_count()
  local tracked, aggregated = next_key(), next_key()
  local window_ms, step_ms, ttl_ms = next_number(), next_number(), next_arg()
  if window_ms > 0 then
    redis.call('ZREMRANGEBYSCORE', tracked, '-inf', '(' .. format_integer((now_ms - window_ms + 1) * TICKS_PER_MS))
    -- More than one window in the future: counted before a clock was set back.
    redis.call('ZREMRANGEBYSCORE', tracked, format_integer((now_ms + window_ms) * TICKS_PER_MS), '+inf')
  end
  local requests = expire_steps(aggregated, window_ms)
  local rank = redis.call('ZRANK', tracked, request_id)
  if rank then return requests + rank + 1, false end

  local score = now_ms * TICKS_PER_MS
  local last = redis.call('ZRANGE', tracked, -1, -1, 'WITHSCORES')[2]
  if last then score = math.max(score, tonumber(last) + 1) end
  redis.call('ZADD', tracked, format_integer(score), request_id)
  local tracked_requests = redis.call('ZCARD', tracked)
  local number = requests + tracked_requests
  if tracked_requests > tracked_max then
    aggregate_oldest(tracked, aggregated, requests, window_ms, step_ms)
    requests = requests + 1
  end
  redis.call('PEXPIRE', tracked, ttl_ms)
  if requests > 0 then redis.call('PEXPIRE', aggregated, ttl_ms) end
  return number, true
end

-- A bucket is the time at which it is full again, `milliseconds parts`, and the latest arrival that took a token (GCRA,
-- ITU-T I.371). A millisecond has as many parts as the rate has requests, so that only the answer is rounded. A late
-- request is measured at the time of the latest one. A clock further behind that than this was set back.
local CLOCK_JITTER_MS_MAX = 1000

local function is_later(ms, parts, than_ms, than_parts)
  return ms > than_ms or (ms == than_ms and parts > than_parts)
end

local function reserve_bucket()
  local key = next_key()
  local rate, token_ms, token_parts = next_number(), next_number(), next_number()
  local full_ms, full_parts = next_number(), next_number()
  local late_ms_max, ttl_ms_max = next_number(), next_number()
  local arrived_ms, at_ms, at_parts, clock_was_set_back = now_ms, now_ms, 0, false

  local function store()
    local ttl_ms = math.min(at_ms - arrived_ms + late_ms_max, ttl_ms_max)
    local bucket = format_integer(at_ms) .. ' ' .. format_integer(at_parts) .. ' ' .. format_integer(arrived_ms)
    redis.call('SET', key, bucket, 'PX', format_integer(math.max(ttl_ms, 1)))
  end

  local stored = redis.call('GET', key)
  if stored then
    local ms, parts, latest_ms = string.match(stored, '^(%S+) (%S+) (%S+)$')
    ms, parts, latest_ms = tonumber(ms), tonumber(parts), tonumber(latest_ms)
    clock_was_set_back = latest_ms - math.max(now_ms, redis_clock_ms) > CLOCK_JITTER_MS_MAX
    if not clock_was_set_back then arrived_ms = math.max(now_ms, latest_ms) end
    at_ms = arrived_ms
    if is_later(ms, parts, at_ms, 0) then at_ms, at_parts = ms, parts end
    -- A bucket is at most empty. Without this bound, a clock that was set back would block all requests until it caught up.
    if is_later(at_ms, at_parts, arrived_ms + full_ms, full_parts) then
      at_ms, at_parts = arrived_ms + full_ms, full_parts
    end
  end

  local full_after_ms, full_after_parts = at_ms + token_ms, at_parts + token_parts
  if full_after_parts >= rate then
    full_after_ms, full_after_parts = full_after_ms + 1, full_after_parts - rate
  end
  if is_later(full_after_ms, full_after_parts, arrived_ms + full_ms, full_parts) then
    if clock_was_set_back then store() end
    local wait_ms = full_after_ms - arrived_ms - full_ms
    if full_after_parts > full_parts then wait_ms = wait_ms + 1 end
    return math.min(wait_ms, 4294967295), false
  end
  at_ms, at_parts = full_after_ms, full_after_parts
  store()
  return 0, true
end

local function reserve_sequence()
  local key, ttl_ms = next_key(), next_arg()
  local count = redis.call('INCR', key)
  redis.call('PEXPIRE', key, ttl_ms)
  return count - 1, false
end

-- A key belongs to the first request that claims it. If it is another's, nothing is measured. Its value is the request
-- id, then the claimants that hold the key, then what attempts that were released have left, as release.lua describes.
-- In place of a claimant, `*` holds the key until it expires: for an attempt of an earlier version, which stored only the
-- request id, and once some 800 attempts hold the key at the same time. Then what they counted is not undone either.
local KEPT = ',*'
local HOLDERS_LENGTH_MAX = 8192
local KEY_ABSENT, KEY_CLAIMED, KEY_TAKEN = 0, 1, 2

local function claim_key()
  if ARGV[args_read + 1] ~= 'key' then return KEY_ABSENT end
  args_read = args_read + 1
  local key, claim, ttl_ms = next_key(), ',' .. next_arg(), next_arg()
  if redis.call('SET', key, request_id .. claim, 'NX', 'PX', ttl_ms) then return KEY_CLAIMED end
  local value = redis.call('GET', key)
  if string.sub(value, 1, #request_id) ~= request_id then return KEY_TAKEN end
  local holders, left = string.match(string.sub(value, #request_id + 1), '^(%S*)(.*)$')
  if holders == '' then holders = KEPT end
  if #holders > HOLDERS_LENGTH_MAX then claim = KEPT end
  if not string.find(holders, claim, 1, true) then holders = holders .. claim end
  redis.call('SET', key, request_id .. holders .. left, 'KEEPTTL')
  return KEY_CLAIMED
end

local reserve = { count = reserve_count, bucket = reserve_bucket, sequence = reserve_sequence }
local answer = { claim_key(), 0 }
if answer[1] == KEY_TAKEN then return answer end
while args_read < #ARGV do
  local measured, is_new = reserve[next_arg()]()
  answer[#answer + 1] = measured
  if is_new then answer[2] = answer[2] + 2 ^ (#answer - 3) end
end
return answer
