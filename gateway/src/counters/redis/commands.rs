//! The commands sent to Redis: two scripts with their arguments, and the read of a key.

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ServerErrorKind};

use crate::counters::{Hook, KEY_ADDED, Measure, Measured, Reserved, Subject, TRACKED_IDS_MAX};
use crate::coupon::{Fingerprint, UnixMs};

pub(super) static RESERVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("reserve.lua")));
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

/// The states of a key in the answer of [`RESERVE`]. 0 is none, or one that the request held before.
const KEY_CLAIMED: u64 = 1;
const KEY_TAKEN: u64 = 2;

/// Builds commands whose keys share a prefix.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    prefix: Arc<str>,
}

impl Commands {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// `clock_ms` is now, by the clock that `subject.arrived_at_ms` was read from: the script compares it with Redis's.
    pub(super) fn reserve(&self, hook: Hook, measures: &[Measure], subject: &Subject, clock_ms: UnixMs) -> Cmd {
        let idempotency_key = subject.fingerprint.map(|fingerprint| self.idempotency_key(fingerprint));
        let has_key = idempotency_key.is_some();
        let keys = self.keys(measures.iter().map(|measure| (hook, measure)), subject);
        let mut command = call(&RESERVE, idempotency_key.into_iter().chain(keys).collect());
        command
            .arg(subject.request_id.as_bytes().as_slice())
            .arg(subject.arrived_at_ms)
            .arg(clock_ms)
            .arg(TRACKED_IDS_MAX);
        if has_key {
            command.arg("key").arg(ttl_ms(IDEMPOTENCY_KEY_TTL));
        }
        for measure in measures {
            add_reserve_numbers(&mut command, measure);
        }
        command
    }

    /// Asks for the id of the request that holds an Idempotency-Key.
    pub(super) fn key_holder(&self, fingerprint: Fingerprint) -> Cmd {
        let mut command = ::redis::cmd("GET");
        command.arg(self.idempotency_key(fingerprint));
        command
    }

    /// A write without effect on any counter.
    pub(super) fn probe(&self) -> Cmd {
        let mut command = call(&RESERVE, vec![format!("{}:proof", self.prefix)]);
        command.arg("").arg(0).arg(0).arg(0).arg("sequence").arg(ttl_ms(CAMPAIGN_TTL));
        command
    }

    pub(super) fn keys<'a>(
        &self,
        measures: impl Iterator<Item = (Hook, &'a Measure)>,
        subject: &Subject,
    ) -> Vec<String> {
        let mut keys = Vec::new();
        for (hook, measure) in measures {
            let key = self.key(hook, measure, subject);
            if matches!(measure, Measure::Count { .. }) {
                let older = format!("{key}:older");
                keys.extend([key, older]);
            } else {
                keys.push(key);
            }
        }
        keys
    }

    /// Such as `{sluice}:key:00f1…`: the fingerprint of the key. Its value is a request id.
    pub(super) fn idempotency_key(&self, fingerprint: Fingerprint) -> String {
        format!("{}:key:{:016x}", self.prefix, fingerprint.0)
    }

    /// Such as `{sluice}:user-limit:count:0:user-of-coupon:104:7`: the hook, the measure with its numbers, the scope and
    /// the ids it selects.
    fn key(&self, hook: Hook, measure: &Measure, subject: &Subject) -> String {
        use std::fmt::Write;

        let scope = measure.scope();
        let mut key = String::with_capacity(96);
        key.push_str(&self.prefix);
        let written = match measure {
            Measure::Count { window_ms, .. } => write!(key, ":{}:count:{window_ms}", hook.as_str()),
            Measure::Bucket { requests, per_ms, burst, .. } => {
                write!(key, ":{}:bucket:{requests}:{per_ms}:{burst}", hook.as_str())
            }
            Measure::Sequence { .. } => write!(key, ":{}:sequence", hook.as_str()),
        };
        let (coupon_id, user_id) = scope.of(subject);
        let written = written.and_then(|()| write!(key, ":{}", scope.as_str()));
        let written = written.and_then(|()| coupon_id.map_or(Ok(()), |id| write!(key, ":{id}")));
        let written = written.and_then(|()| user_id.map_or(Ok(()), |id| write!(key, ":{id}")));
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
        key
    }
}

pub(super) fn call(script: &Script, keys: Vec<String>) -> Cmd {
    let mut command = ::redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys.len()).arg(keys);
    command
}

fn add_reserve_numbers(command: &mut Cmd, measure: &Measure) {
    match *measure {
        Measure::Count { window_ms: 0, .. } => command.arg("count").arg(0).arg(0).arg(ttl_ms(CAMPAIGN_TTL)),
        Measure::Count { window_ms, .. } => {
            let ttl_ms = window_ms.saturating_add(ttl_ms(LATE_MAX)).min(TTL_MS_MAX);
            command.arg("count").arg(window_ms).arg(window_ms / STEPS_PER_WINDOW).arg(ttl_ms)
        }
        Measure::Bucket { requests, per_ms, burst, .. } => {
            let token_parts = u64::from(per_ms.get());
            command.arg("bucket").arg(requests.get());
            add_time(command, token_parts, requests);
            add_time(command, token_parts * u64::from(burst.get()), requests);
            command.arg(ttl_ms(LATE_MAX)).arg(TTL_MS_MAX)
        }
        Measure::Sequence { .. } => command.arg("sequence").arg(ttl_ms(CAMPAIGN_TTL)),
    };
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

/// Parses the answer of [`RESERVE`]: the state of the key, a bit mask of what was added, then one number per measure.
pub(super) fn reserved(measures: &[Measure], answer: &[u64]) -> Option<Reserved> {
    let [key, added, numbers @ ..] = answer else { return None };
    if *key == KEY_TAKEN {
        return Some(Reserved { is_key_taken: true, ..Reserved::default() });
    }
    if numbers.len() != measures.len() {
        return None;
    }
    let key_added = if *key == KEY_CLAIMED { KEY_ADDED } else { 0 };
    let measured = measures.iter().zip(numbers).map(|(measure, number)| measured(measure, *number));
    let added = u32::try_from(*added).ok()? | key_added;
    Some(Reserved { measured: measured.collect(), added, is_key_taken: false })
}

fn measured(measure: &Measure, number: u64) -> Measured {
    match measure {
        Measure::Count { .. } => Measured::Count(number),
        Measure::Bucket { .. } => match u32::try_from(number).unwrap_or(u32::MAX) {
            0 => Measured::Conforming,
            wait_ms => Measured::ConformingInMs(wait_ms),
        },
        Measure::Sequence { .. } => Measured::Sequence(number),
    }
}

/// Calls a script, and loads it first if Redis does not have it.
pub(super) async fn run<T: FromRedisValue>(
    mut connection: MultiplexedConnection,
    script: &Script,
    command: Cmd,
) -> RedisResult<T> {
    match command.query_async(&mut connection).await {
        Err(error) if is_unknown_script(&error) => {
            script.load_async(&mut connection).await?;
            command.query_async(&mut connection).await
        }
        answer => answer,
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
