//! The calls to Redis: two scripts with their arguments, and the read of a key.

use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Script, ServerErrorKind, Value};

use super::keys::{Counter, Group, Home, Keys, PARTS};
use crate::counters::{KEY_ADDED, Measure, Measured, Reserved, Subject, TRACKED_IDS_MAX};
use crate::coupon::{Fingerprint, UnixMs};

static RESERVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("reserve.lua")));
pub(super) static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("release.lua")));

/// Whole-campaign counts and sequences expire after a month without requests, because nothing tells the counters that a
/// campaign has ended. Should one resume later, its counts start at zero and the ledger still enforces its limit.
const CAMPAIGN_TTL: Duration = Duration::from_hours(30 * 24);
/// Windows and buckets are kept this much longer than their own length: a request is measured by its arrival time, but
/// may have been queued since, or come from a gateway whose clock is behind.
const LATE_MAX: Duration = Duration::from_secs(60);
/// How long another body under the same Idempotency-Key is refused. A retry with the same body needs no key in Redis.
const IDEMPOTENCY_KEY_TTL: Duration = Duration::from_hours(24);
/// A hundred years. Redis rejects a TTL that overflows when added to its clock.
const TTL_MS_MAX: u64 = 100 * 365 * 24 * 3_600_000;
/// Aggregated requests leave the window in steps, as in the local counters.
const STEPS_PER_WINDOW: u64 = 64;

/// The states of a key in the answer of [`RESERVE`]. 0 is none.
const KEY_CLAIMED: u64 = 1;
const KEY_TAKEN: u64 = 2;

/// A command whose keys are all on one slot.
pub(super) struct Call {
    pub(super) slot: u16,
    pub(super) command: Cmd,
    /// Loaded if Redis does not have it.
    script: Option<&'static Script>,
}

impl Call {
    pub(super) fn of_script(script: &'static Script, slot: u16, keys: &[String]) -> Self {
        let mut command = ::redis::cmd("EVALSHA");
        command.arg(script.get_hash()).arg(keys.len()).arg(keys);
        Self { slot, command, script: Some(script) }
    }

    /// `is_asking` marks a command that was redirected to the node that imports its slot.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        is_asking: bool,
    ) -> RedisResult<T> {
        match (self.query(connection, is_asking).await, self.script) {
            (Err(error), Some(script)) if is_unknown_script(&error) => {
                script.load_async(connection).await?;
                self.query(connection, is_asking).await
            }
            (answer, _) => answer,
        }
    }

    async fn query<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        is_asking: bool,
    ) -> RedisResult<T> {
        if !is_asking {
            return self.command.query_async(connection).await;
        }
        // One write: `ASKING` holds for the next command of the connection, which other calls share.
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("ASKING").add_command(self.command.clone());
        let answers = connection.send_packed_commands(&pipeline, 0, 2).await?;
        let answer = answers.into_iter().next_back().unwrap_or(Value::Nil).extract_error()?;
        Ok(T::from_redis_value(answer)?)
    }
}

impl Keys {
    /// Takes the measures of a group. `clock_ms` is now, by the clock that `subject.arrived_at_ms` was read from: the
    /// script compares it with Redis's.
    pub(super) fn reserve(&self, group: &Group, subject: &Subject, clock_ms: UnixMs) -> Call {
        let mut keys: Vec<_> = group.claim.map(|claim| self.idempotency_key(claim.key)).into_iter().collect();
        group.counters.iter().for_each(|(_, counter)| self.push_keys(&mut keys, counter, subject));
        let mut call = Call::of_script(&RESERVE, self.slot(group.home), &keys);
        let command = &mut call.command;
        command
            .arg(subject.request_id.as_bytes().as_slice())
            .arg(subject.arrived_at_ms)
            .arg(clock_ms)
            .arg(TRACKED_IDS_MAX);
        if let Some(claim) = group.claim {
            command.arg("key").arg(claim.claimant(subject)).arg(ttl_ms(IDEMPOTENCY_KEY_TTL));
        }
        group.counters.iter().for_each(|(_, counter)| add_reserve_numbers(command, counter));
        call
    }

    /// Asks for the id of the request that holds an Idempotency-Key.
    pub(super) fn holder(&self, fingerprint: Fingerprint) -> Call {
        let mut command = ::redis::cmd("GET");
        command.arg(self.idempotency_key(fingerprint));
        Call { slot: self.slot(self.home_of_key(fingerprint)), command, script: None }
    }
}

/// A write without effect on any counter.
pub(super) fn probe(key: String) -> Call {
    let mut call = Call::of_script(&RESERVE, 0, &[key]);
    call.command.arg("").arg(0).arg(0).arg(0).arg("sequence").arg(ttl_ms(CAMPAIGN_TTL));
    call
}

fn add_reserve_numbers(command: &mut Cmd, counter: &Counter) {
    match counter.measure {
        Measure::Count { window_ms: 0, .. } => command.arg("count").arg(0).arg(0).arg(ttl_ms(CAMPAIGN_TTL)),
        Measure::Count { window_ms, .. } => {
            let ttl_ms = window_ms.saturating_add(ttl_ms(LATE_MAX)).min(TTL_MS_MAX);
            command.arg("count").arg(window_ms).arg(window_ms / STEPS_PER_WINDOW).arg(ttl_ms)
        }
        Measure::Bucket { requests, per_ms, burst, .. } => {
            let token_parts = token_parts(per_ms, counter.home);
            command.arg("bucket").arg(requests.get());
            add_time(command, token_parts, requests);
            add_time(command, token_parts.saturating_mul(burst_at(burst, counter.home)), requests);
            command.arg(ttl_ms(LATE_MAX)).arg(TTL_MS_MAX)
        }
        Measure::Sequence { .. } => command.arg("sequence").arg(ttl_ms(CAMPAIGN_TTL)),
    };
}

/// The time of a token in parts of a millisecond, of which there are as many as the rate has requests. Tokens come to one
/// part of a divided bucket more slowly by the number of parts.
pub(super) fn token_parts(per_ms: NonZeroU32, home: Home) -> u64 {
    let divisor = if matches!(home, Home::Part(_)) { PARTS } else { 1 };
    u64::from(per_ms.get()) * u64::from(divisor)
}

/// The share of a divided bucket's burst. The shares add up to the burst.
fn burst_at(burst: NonZeroU32, home: Home) -> u64 {
    let (burst, parts) = (u64::from(burst.get()), u64::from(PARTS));
    match home {
        Home::Part(part) => burst / parts + u64::from(u64::from(part) < burst % parts),
        _ => burst,
    }
}

/// As milliseconds and the remaining parts: a time since 1970 in parts alone would exceed 2^53, up to which Lua's numbers
/// are exact. A millisecond has `requests` parts.
pub(super) fn add_time(command: &mut Cmd, parts: u64, requests: NonZeroU32) {
    let parts_per_ms = u64::from(requests.get());
    command.arg(parts / parts_per_ms).arg(parts % parts_per_ms);
}

const fn ttl_ms(duration: Duration) -> u64 {
    duration.as_secs() * 1_000
}

/// Parses the answer of [`RESERVE`]: the state of the key, a bit mask of what was added, then one number per measure. In
/// the result, measures are in the order of the group, and bits at their positions in the hook.
pub(super) fn reserved(group: &Group, answer: &[u64]) -> Option<Reserved> {
    let [key, mask, numbers @ ..] = answer else { return None };
    if *key == KEY_TAKEN {
        return Some(Reserved { is_key_taken: true, ..Reserved::default() });
    }
    if numbers.len() != group.counters.len() {
        return None;
    }
    let mut reserved = Reserved { added: if *key == KEY_CLAIMED { KEY_ADDED } else { 0 }, ..Reserved::default() };
    for (index, ((position, counter), number)) in group.counters.iter().zip(numbers).enumerate() {
        reserved.measured.push(measured(counter, *number));
        reserved.added |= u32::from(mask & (1 << index) != 0) << position;
    }
    Some(reserved)
}

fn measured(counter: &Counter, number: u64) -> Measured {
    match (counter.measure, counter.home) {
        (Measure::Count { .. }, _) => Measured::Count(number),
        (Measure::Bucket { .. }, _) => match u32::try_from(number).unwrap_or(u32::MAX) {
            0 => Measured::Conforming,
            wait_ms => Measured::ConformingInMs(wait_ms),
        },
        (Measure::Sequence { .. }, Home::Part(part)) => {
            Measured::Sequence(number.saturating_mul(PARTS.into()).saturating_add(part.into()))
        }
        (Measure::Sequence { .. }, _) => Measured::Sequence(number),
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
