-- Undoes what reserve.lua added for some requests.
--
-- For each request, KEYS: the idempotency key if it is released, then those of each measure to undo, in order. ARGV:
-- `request` and its id, `key`, the claimant and the counts to leave if there is a key, then for each measure its kind and
-- its numbers. Expired keys are ignored.
--
-- The value of an idempotency key is a request id, the claimants that hold the key for attempts of the request, and the
-- counts that released attempts have left: `,000001f4u,0000002br user-limit:0:user-of-coupon rate-shaper:1000:coupon`.
-- While others hold the key, the counts of this attempt are not undone, because others rely on them: they are left with
-- the key. A call that is repeated because its answer was lost finds its claimant gone, and frees nobody else's claim. A
-- claimant is an attempt and the letter of a hook; without the letter, the claims of all its hooks are released.
-- Answers for each idempotency key what earlier attempts left, or nil if this was not the last attempt. The counts that
-- were left may be in other slots, so another call undoes them.

local request_id, is_last
local answer = {}
local keys_read, args_read = 0, 0

local function next_key()
  keys_read = keys_read + 1
  return KEYS[keys_read]
end

local function next_arg()
  args_read = args_read + 1
  return ARGV[args_read]
end

local function format_integer(integer)
  return string.format('%.0f', integer)
end

local function parse_pair(stored)
  local first, second = string.match(stored, '^(%S+) (%S+)$')
  return tonumber(first), tonumber(second)
end

-- A request that is not tracked is assumed to be an aggregated one: a count that stays too high could reject its user
-- for good.
local function release_count()
  local tracked, aggregated = next_key(), next_key()
  if not is_last then return end
  if redis.call('ZREM', tracked, request_id) == 1 then return end
  local requests = tonumber(redis.call('LINDEX', aggregated, 0) or 0)
  if requests == 0 then return end
  if requests == 1 then
    redis.call('DEL', aggregated)
    return
  end
  local step_at, step_requests = parse_pair(redis.call('LINDEX', aggregated, -1))
  if step_requests > 1 then
    redis.call('LSET', aggregated, -1, format_integer(step_at) .. ' ' .. format_integer(step_requests - 1))
  else
    redis.call('RPOP', aggregated)
  end
  redis.call('LSET', aggregated, 0, format_integer(requests - 1))
end

local function release_bucket()
  local key = next_key()
  local rate, token_ms, token_parts = tonumber(next_arg()), tonumber(next_arg()), tonumber(next_arg())
  local stored = redis.call('GET', key)
  if not stored then return end
  local ms, parts, latest_ms = string.match(stored, '^(%S+) (%S+) (%S+)$')
  ms, parts = tonumber(ms) - token_ms, tonumber(parts) - token_parts
  if parts < 0 then ms, parts = ms - 1, parts + rate end
  redis.call('SET', key, format_integer(ms) .. ' ' .. format_integer(parts) .. ' ' .. latest_ms, 'KEEPTTL')
end

-- A count is left once: each request is undone at most once in it, and the value stays small.
local function leave(left, counts)
  for count in string.gmatch(counts, ' %S+') do
    if not string.find(left .. ' ', count .. ' ', 1, true) then left = left .. count end
  end
  return left
end

-- An attempt whose key has expired, or belongs to another request by now, counts as the last.
local function release_key()
  local key, claimant, counts = next_key(), next_arg(), next_arg()
  local value = redis.call('GET', key)
  if not value or string.sub(value, 1, #request_id) ~= request_id then
    answer[#answer + 1] = ''
    return
  end
  local holders, left = string.match(string.sub(value, #request_id + 1), '^(%S*)(.*)$')
  local others, claims = string.gsub(holders, ',' .. claimant .. '%l?', '')
  is_last = claims > 0 and others == ''
  if is_last then
    redis.call('DEL', key)
    answer[#answer + 1] = left
  else
    redis.call('SET', key, request_id .. others .. leave(left, counts), 'KEEPTTL')
    answer[#answer + 1] = false
  end
end

local function begin_request()
  request_id, is_last = next_arg(), true
end

local release = { request = begin_request, key = release_key, count = release_count, bucket = release_bucket }
while args_read < #ARGV do
  release[next_arg()]()
end
return answer
