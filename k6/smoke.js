// The smoke test of the original load test: 50 users for 30 seconds, who wait one second between requests.

import { check, sleep } from 'k6';

import { anyUser, close, issue, open } from './lib.js';

export const options = {
  vus: 50,
  duration: '30s',
  thresholds: {
    'http_req_duration{call:issue}': ['p(95)<500'],
    'http_req_failed{call:issue}': ['rate<0.01'],
    checks: ['rate==1.0'],
  },
};

export function setup() {
  return open({ total: 1000000, shards: 4, perUserLimit: 1000, requestsPerUser: 1000 });
}

export default function ({ couponId }) {
  check(issue(anyUser(), couponId), { 'status is 202': (answer) => answer.status === 202 });
  sleep(1);
}

export { close as teardown };
