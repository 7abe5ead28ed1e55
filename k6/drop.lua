-- A drop with wrk: each of 20,000 users asks once. It prints how often each answer came, and how long all took.
--
--   COUPON=104 wrk --threads 1 --connections 64 --duration 10s --script k6/drop.lua http://127.0.0.1:8080/coupon/issue
--
-- The user is in the body, and in the header Authorization for gateways that look there. There must be one thread,
-- because each thread would ask for the same users. wrk waits for the whole duration, whenever the last answer came.

local ffi = require('ffi')
ffi.cdef('typedef struct { long seconds, nanoseconds; } time; int clock_gettime(int clock, time *now);')

local USERS = 20000
local CLOCK_MONOTONIC = 1

local coupon = os.getenv('COUPON') or '104'
-- wrk calls `request` once before the test, to check it. That first call is for user 0, and is not sent.
local asked, answered, started = -1, 0, nil
local counts = {}
local thread

local function seconds()
  local now = ffi.new('time')
  ffi.C.clock_gettime(CLOCK_MONOTONIC, now)
  return tonumber(now.seconds) + tonumber(now.nanoseconds) / 1e9
end

function setup(new)
  thread = new
end

function init()
  wrk.headers['Content-Type'] = 'application/json'
end

function request()
  asked = asked + 1
  if asked == 1 then started = seconds() end
  if asked > USERS then
    return wrk.format('GET', '/nothing') -- 404: keeps a connection busy until the last user is answered
  end
  wrk.headers['Authorization'] = 'user-' .. asked
  local body = string.format('{"userId":%d,"couponId":%s,"policyId":21,"typeSnapshot":"FIXED"}', asked, coupon)
  return wrk.format('POST', nil, nil, body)
end

function response(status, _, body)
  if status == 404 then return end
  local answer = tostring(status)
  if status == 200 then answer = answer .. ' ' .. body:match('[^\r\n]*') end
  counts[answer] = (counts[answer] or 0) + 1
  answered = answered + 1
  summary = string.format('%d answers in %.2f s:', answered, seconds() - started)
  for name, count in pairs(counts) do summary = summary .. '  ' .. count .. ' × ' .. name end
  if answered == USERS then wrk.thread:stop() end
end

function done()
  print(thread:get('summary') or 'no answers')
end
