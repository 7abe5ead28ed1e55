// The load of one run of the comparison. It logs one line for each request, which k6/compare/requests.py reads: when it
// began and when it was answered (ms since 1970), user, coupon, status, reason, response time in ms, request id, and for a
// sample of the accepted requests the time in ms until the client knew the outcome.

import { sleep } from 'k6';
import exec from 'k6/execution';

import { awaitOutcome, issue } from '../lib.js';

// The scenario, the coupons, the number of the first user and the seed of this run.
const RUN = JSON.parse(__ENV.RUN);
// One client of `waitingOneOf` waits for its outcome. If all did in a large drop, their waiting would be most of the load.
const { load, flood, crowd, thinkSeconds, waitingOneOf } = RUN.scenario;

export const options = {
  scenarios: {
    crowd: { ...load, exec: 'ask' },
    ...(flood && { flood: { ...flood, exec: 'fill' } }),
  },
};

export function ask() {
  const iteration = exec.scenario.iterationInTest;
  const random = generator(RUN.seed + iteration);
  const userId = RUN.firstUser + user(iteration, random);
  const couponId = RUN.couponIds[iteration % RUN.couponIds.length];
  const isRetried = crowd.retries !== undefined && random() < crowd.retries;
  const key = isRetried ? `${RUN.firstUser}-${iteration}` : undefined;
  request(userId, couponId, key, iteration % waitingOneOf === 0);
  if (isRetried) request(userId, couponId, key, false);
  if (thinkSeconds) sleep(thinkSeconds);
}

// Requests for the flooded partition belong to no measurement, and are not logged.
export function fill() {
  issue(RUN.firstUser + exec.scenario.iterationInTest, RUN.floodCouponId);
}

function user(iteration, random) {
  if (crowd.bots && random() < crowd.botShare) return crowd.users + Math.floor(random() * crowd.bots);
  if (crowd.zipf) return zipf(random(), crowd.users, crowd.zipf);
  return iteration % crowd.users;
}

// The inverse of the distribution function of a continuous Zipf distribution, for an exponent other than 1.
function zipf(uniform, users, exponent) {
  const power = 1 - exponent;
  return Math.min(users, Math.floor((uniform * (users ** power - 1) + 1) ** (1 / power))) - 1;
}

function request(userId, couponId, key, waits) {
  const beganAt = Date.now();
  const answer = issue(userId, couponId, key);
  // The response time leaves out the time to connect, so it does not tell when the answer came.
  const answeredAt = Date.now();
  const body = answer.status > 0 ? answer.json() : { reason: `error ${answer.error_code}` };
  let outcomeMs = '';
  if (waits && body.statusUrl) {
    const status = awaitOutcome(body.statusUrl);
    if (status.status === 200 && status.json('status') !== 'PENDING') {
      outcomeMs = answer.timings.duration + status.timings.duration;
    }
  }
  const { reason = '', requestId = '' } = body;
  const responseMs = answer.timings.duration;
  const line = [beganAt, answeredAt, userId, couponId, answer.status, reason, responseMs, requestId, outcomeMs];
  console.log(line.join(','));
}

// Uniform random numbers from 0 to below 1 (mulberry32): the same seed gives every policy the same crowd.
function generator(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 4294967296;
  };
}

export function handleSummary({ metrics }) {
  const dropped = metrics.dropped_iterations ? metrics.dropped_iterations.values.count : 0;
  return { [RUN.summary]: JSON.stringify({ dropped }) };
}
