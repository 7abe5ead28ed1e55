// A drop: 10,000 coupons in 4 shards, and 20,000 users, half of whom ask twice. The request rate does not depend on
// the response time.

import { check } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';

import { close, issue, open } from './lib.js';

const COUPONS = 10000;
const USERS = 20000;
// STRIDE and USERS have no common divisor, so every user asks once before any user asks again.
const STRIDE = 7919;

export const options = {
  scenarios: {
    drop: {
      executor: 'ramping-arrival-rate',
      startRate: 500,
      timeUnit: '1s',
      // 30,000 requests in all.
      stages: [
        { duration: '2s', target: 3500 },
        { duration: '6s', target: 3500 },
        { duration: '2s', target: 1500 },
      ],
      preAllocatedVUs: 500,
      maxVUs: 2000,
    },
  },
  thresholds: {
    'http_req_failed{call:issue}': ['rate==0.0'],
    checks: ['rate==1.0'],
  },
};

// SOLD_OUT and USER_LIMIT are expected responses, not failures.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 409, 429));

export function setup() {
  return open({ total: COUPONS, shards: 4, perUserLimit: 1, requestsPerUser: 1 });
}

export default function ({ couponId }) {
  const userId = 1 + ((exec.scenario.iterationInTest * STRIDE) % USERS);
  const answer = issue(userId, couponId);
  check(answer, {
    'accepted, sold out or over the user limit': ({ status }) =>
      status === 202 ||
      (status === 409 && answer.json('reason') === 'SOLD_OUT') ||
      (status === 429 && answer.json('reason') === 'USER_LIMIT'),
  });
}

export function teardown(campaign) {
  check(close(campaign), { 'every coupon was issued': ({ granted }) => granted === COUPONS });
}
