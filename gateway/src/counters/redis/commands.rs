//! The two scripts, and how they are called: each measure has a key or two, a kind and numbers.

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Script, ServerErrorKind};

use crate::counters::{COUNTED_BY_NAME, Hook, Measure, Scope, Subject};
use crate::coupon::UnixMs;

pub(super) static RESERVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("reserve.lua")));
pub(super) static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("release.lua")));

/// A count of a whole campaign, and a sequence, are let go when nobody was counted for so long.
/// Nothing tells the counters that a campaign is over; one in which nobody takes part for a month
/// is, or else starts from nought, and the ledger still holds its limit.
const CAMPAIGN_TTL: Duration = Duration::from_hours(30 * 24);
/// A window or a bucket outlives its own time by so much, because a request is measured by when it
/// arrived, and may since have waited for its turn, or come from a clock that is behind.
const LATE_MAX: Duration = Duration::from_secs(60);
/// A hundred years: Redis refuses a time to live that its own clock cannot be added to.
const TTL_MS_MAX: u64 = 100 * 365 * 24 * 3_600_000;
/// What is no longer known by name slides in so many steps, as in the counters of a process.
const STEPS_PER_WINDOW: u64 = 64;

/// Makes commands whose keys begin alike.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    prefix: Arc<str>,
}

impl Commands {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// Takes all measures, now by the clock that the subject's arrival was read from. The answer is a bit mask of
    /// what was added, and then what was measured.
    pub(super) fn reserve(&self, hook: Hook, measures: &[Measure], subject: &Subject, asked_at_ms: UnixMs) -> Cmd {
        let mut command = call(&RESERVE, self.keys(measures.iter().map(|measure| (hook, measure)), subject));
        command
            .arg(subject.request_id.as_bytes().as_slice())
            .arg(subject.arrived_at_ms)
            .arg(asked_at_ms)
            .arg(COUNTED_BY_NAME);
        for measure in measures {
            add_numbers(&mut command, measure);
        }
        command
    }

    /// Undoes measures that were added.
    pub(super) fn release(&self, hook: Hook, measures: &[Measure], subject: &Subject, added: u32) -> Cmd {
        let is_added = |index: usize| added & (1 << index) != 0;
        let added = measures.iter().enumerate().filter(|(index, _)| is_added(*index)).map(|(_, measure)| measure);
        self.undo(added.map(|measure| (hook, measure)), subject)
    }

    /// Takes a request out of every count of a whole campaign there can be.
    pub(super) fn forget(&self, rejected: &Subject) -> Cmd {
        let counts = Scope::ALL.map(|scope| Measure::Count { scope, window_ms: 0 });
        let counts = Hook::ALL.into_iter().flat_map(|hook| counts.iter().map(move |count| (hook, count)));
        self.undo(counts, rejected)
    }

    /// Does nothing that matters, but writes.
    pub(super) fn proof(&self) -> Cmd {
        let mut command = call(&RESERVE, vec![format!("{}:proof", self.prefix)]);
        command.arg("").arg(0).arg(0).arg(0).arg("sequence").arg(ttl_ms(CAMPAIGN_TTL));
        command
    }

    fn undo<'a>(&self, measures: impl Iterator<Item = (Hook, &'a Measure)> + Clone, subject: &Subject) -> Cmd {
        let mut command = call(&RELEASE, self.keys(measures.clone(), subject));
        command.arg(subject.request_id.as_bytes().as_slice());
        for (_, measure) in measures {
            add_what_to_undo(&mut command, measure);
        }
        command
    }

    fn keys<'a>(&self, measures: impl Iterator<Item = (Hook, &'a Measure)>, subject: &Subject) -> Vec<String> {
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

    /// `{sluice}:user-limit:count:0:user-of-coupon:104:7`: the hook, the measure with its numbers,
    /// and what its scope has in common.
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
        debug_assert!(written.is_ok(), "a string takes whatever is written to it");
        key
    }
}

fn call(script: &Script, keys: Vec<String>) -> Cmd {
    let mut command = ::redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys.len()).arg(keys);
    command
}

fn add_numbers(command: &mut Cmd, measure: &Measure) {
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

fn add_what_to_undo(command: &mut Cmd, measure: &Measure) {
    match *measure {
        Measure::Count { .. } => {
            command.arg("count");
        }
        Measure::Bucket { requests, per_ms, .. } => {
            command.arg("bucket").arg(requests.get());
            add_time(command, per_ms.get().into(), requests);
        }
        // Keeps its gap, and never says that it added anything.
        Measure::Sequence { .. } => {}
    }
}

/// Parts of a millisecond, of which it has as many as the rate has requests.
fn add_time(command: &mut Cmd, parts: u64, requests: NonZeroU32) {
    let parts_per_ms = u64::from(requests.get());
    command.arg(parts / parts_per_ms).arg(parts % parts_per_ms);
}

const fn ttl_ms(duration: Duration) -> u64 {
    duration.as_secs() * 1_000
}

/// Calls a script, which is handed over first if Redis does not know it.
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

/// Calls [`RELEASE`] many times in one round trip.
pub(super) async fn release_all(mut connection: MultiplexedConnection, pipeline: Pipeline) -> RedisResult<()> {
    match pipeline.exec_async(&mut connection).await {
        Err(error) if is_unknown_script(&error) => {
            RELEASE.load_async(&mut connection).await?;
            pipeline.exec_async(&mut connection).await
        }
        answer => answer,
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
