// One shard picker under the load of a drop. `k6/run compare` runs it once for each picker and prints a table.

import { check } from 'k6';
import exec from 'k6/execution';
import { Gauge } from 'k6/metrics';

import { close, issue, metric, open } from './lib.js';

const PICKER = __ENV.PICKER || 'random';
const SHARDS = 12;
// There is one coupon per user, so every request that a picker places unevenly needs a coupon of another shard.
const USERS = 12000;
const SECONDS = 8;

const leastPicked = new Gauge('shard_picked_least');
const mostPicked = new Gauge('shard_picked_most');
const steals = new Gauge('shard_steals');

export const options = {
  scenarios: {
    compare: {
      executor: 'constant-arrival-rate',
      rate: USERS / SECONDS,
      timeUnit: '1s',
      duration: `${SECONDS}s`,
      preAllocatedVUs: 200,
      maxVUs: 1000,
    },
  },
  thresholds: { 'http_req_duration{call:issue}': ['p(95)<500'], checks: ['rate==1.0'] },
  summaryTrendStats: ['med', 'p(95)'],
};

export function setup() {
  const hooks = { 'shard-picker': { policy: PICKER } };
  return open({ total: USERS, shards: SHARDS, perUserLimit: 1, requestsPerUser: 1, hooks });
}

export default function ({ couponId }) {
  const answer = issue(1 + exec.scenario.iterationInTest, couponId);
  check(answer, { 'status is 202': ({ status }) => status === 202 });
}

export function teardown(campaign) {
  const picked = close(campaign).shards.map((shard) => shard.picked);
  leastPicked.add(Math.min(...picked));
  mostPicked.add(Math.max(...picked));
  steals.add(metric('sluice_shard_steals_total', `coupon="${campaign.couponId}"`));
}

export function handleSummary({ metrics }) {
  const latency = metrics['http_req_duration{call:issue}'].values;
  const cells = [
    PICKER.padEnd(14),
    `${latency.med.toFixed(2)} ms`,
    `${latency['p(95)'].toFixed(2)} ms`,
    `${metrics.shard_picked_least.values.value} to ${metrics.shard_picked_most.values.value}`,
    `${metrics.shard_steals.values.value}`,
  ];
  return { stdout: `| ${cells.join(' | ')} |\n` };
}
