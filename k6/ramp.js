// The ramp of the original load test, during which its service ran out of memory: up to 2,000 users.

import { check, sleep } from 'k6';

import { anyUser, close, issue, open } from './lib.js';

export const options = {
  stages: [
    { duration: '1m', target: 500 },
    { duration: '1m', target: 1000 },
    { duration: '1m', target: 2000 },
    { duration: '2m', target: 0 },
  ],
  thresholds: {
    'http_req_duration{call:issue}': ['p(95)<2000'],
    'http_req_failed{call:issue}': ['rate<0.05'],
    'checks{call:audit}': ['rate==1.0'],
  },
};

export function setup() {
  return open({ total: 10000000, shards: 12, perUserLimit: 1000, requestsPerUser: 1000 });
}

export default function ({ couponId }) {
  check(issue(anyUser(), couponId), { 'status is 202': (answer) => answer.status === 202 });
  sleep(1);
}

export { close as teardown };
