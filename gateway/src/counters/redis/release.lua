-- Undoes for one request what reserve.lua added, and answers nothing of interest.
--
-- KEYS: those of each measure to undo, in turn. ARGV: the request's name, and for each measure its
-- kind and its numbers. What has expired since is passed over.

local request = ARGV[1]
local keys_read, words_read = 0, 1

local function key()
  keys_read = keys_read + 1
  return KEYS[keys_read]
end

local function word()
  words_read = words_read + 1
  return ARGV[words_read]
end

local function text(integer)
  return string.format('%.0f', integer)
end

local function two(stored)
  local first, second = string.match(stored, '^(%S+) (%S+)$')
  return tonumber(first), tonumber(second)
end

-- One that is not known by name is taken to be one of those that are only a number: a count that is
-- too high could turn somebody away for good.
local function count()
  local named, older = key(), key()
  if redis.call('ZREM', named, request) == 1 then return end
  local requests = tonumber(redis.call('LINDEX', older, 0) or 0)
  if requests == 0 then return end
  if requests == 1 then
    redis.call('DEL', older)
    return
  end
  local step_at, step_requests = two(redis.call('LINDEX', older, -1))
  if step_requests > 1 then
    redis.call('LSET', older, -1, text(step_at) .. ' ' .. text(step_requests - 1))
  else
    redis.call('RPOP', older)
  end
  redis.call('LSET', older, 0, text(requests - 1))
end

local function bucket()
  local name, rate, token_ms, token_parts = key(), tonumber(word()), tonumber(word()), tonumber(word())
  local stored = redis.call('GET', name)
  if not stored then return end
  local ms, parts, latest_ms = string.match(stored, '^(%S+) (%S+) (%S+)$')
  ms, parts = tonumber(ms) - token_ms, tonumber(parts) - token_parts
  if parts < 0 then ms, parts = ms - 1, parts + rate end
  redis.call('SET', name, text(ms) .. ' ' .. text(parts) .. ' ' .. latest_ms, 'KEEPTTL')
end

local release = { count = count, bucket = bucket }
while words_read < #ARGV do
  release[word()]()
end
return 0
