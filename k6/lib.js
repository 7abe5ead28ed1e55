// Shared by the load tests: the request, the campaign of a run, and the audit at its end.

import { check, fail, sleep } from 'k6';
import http from 'k6/http';

const BASE_URLS = (__ENV.BASE_URL || 'http://127.0.0.1:8080').split(',');
const [ADMIN_URL] = (__ENV.ADMIN_URL || 'http://127.0.0.1:8081').split(',');

const POLICY_ID = 21;
const JSON_BODY = { headers: { 'Content-Type': 'application/json' } };
const ISSUE = { ...JSON_BODY, tags: { call: 'issue' } };

// A change made on one gateway reaches the others within this time.
const PROPAGATED_WITHIN_SECONDS = 2;
// After the last request, all records must be settled within this time.
const SETTLED_WITHIN_SECONDS = 60;

export const USERS = 100000;

export function anyUser() {
  return 1 + Math.floor(Math.random() * USERS);
}

// Asks a random gateway for a coupon. The body is that of the original load test, see the README.
export function issue(userId, couponId, idempotencyKey) {
  const body = {
    userId,
    couponId,
    policyId: POLICY_ID,
    typeSnapshot: 'FIXED',
    discountRateSnapshot: 10.0,
    discountAmountSnapshot: 1000,
    minimumOrderAmountSnapshot: 5000,
    usagePeriodSnapshot: 30,
    expiredAt: '2025-12-31T23:59:59',
  };
  const headers = idempotencyKey ? { ...ISSUE.headers, 'Idempotency-Key': idempotencyKey } : ISSUE.headers;
  return http.post(`${anyGateway()}/coupon/issue`, JSON.stringify(body), { ...ISSUE, headers });
}

// Waits for the outcome of an accepted request, for at most ten seconds.
export function awaitOutcome(statusUrl) {
  return http.get(`${anyGateway()}${statusUrl}&wait=10s`, { tags: { name: 'status' } });
}

function anyGateway() {
  return BASE_URLS[Math.floor(Math.random() * BASE_URLS.length)];
}

// Creates a campaign, and activates a pipeline that lets a user ask `requestsPerUser` times. `close` restores the previous
// pipeline.
export function open({ total, shards, perUserLimit, requestsPerUser }) {
  const before = admin('GET', '/admin/pipeline').pipeline;
  const quota = { policy: 'quota', config: { limit: requestsPerUser }, on_failure: 'refuse' };
  admin('PUT', '/admin/pipeline', { 'user-limit': quota });
  const couponId = Date.now();
  admin('POST', '/admin/coupons', { couponId, policyId: POLICY_ID, total, shards, perUserLimit });
  if (BASE_URLS.length > 1) sleep(PROPAGATED_WITHIN_SECONDS);
  return { couponId, before };
}

// Waits until all records are settled, checks the audit of the coupon and returns it.
export function close({ couponId, before }) {
  admin('PUT', '/admin/pipeline', before);
  waitUntilSettled();
  const audit = admin('GET', `/admin/coupons/${couponId}/audit?recount=true`);
  console.log(`audit: ${JSON.stringify(audit)}`);
  check(audit, {
    'granted + remaining = total': (a) => a.balanced && a.granted + a.remaining === a.total,
    'no user is over the limit': (a) => a.recount.usersOverLimit === 0,
    'the tallies agree with the outcomes': (a) => a.recount.agrees,
    'no request was rejected as sold out while stock remained': (a) => a.soldOut === 0 || a.remaining === 0,
  }, { call: 'audit' });
  return audit;
}

function waitUntilSettled() {
  for (let second = 0; second < SETTLED_WITHIN_SECONDS; second += 1) {
    const lag = lagRecords();
    console.log(`lag ${second} s after the last request: ${lag} records`);
    if (lag === 0) return;
    sleep(1);
  }
  fail(`records are still not settled ${SETTLED_WITHIN_SECONDS} s after the last request`);
}

// Sums the lag of all partitions.
function lagRecords() {
  const lines = http.get(`${ADMIN_URL}/metrics`).body.split('\n');
  return lines
    .filter((line) => line.startsWith('sluice_log_lag_records'))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

function admin(method, path, body) {
  const answer = http.request(method, ADMIN_URL + path, body && JSON.stringify(body), JSON_BODY);
  if (answer.status < 200 || answer.status > 299) fail(`${method} ${path}: ${answer.status} ${answer.body}`);
  return answer.json();
}
