//! The keys of the counters, and which of them are on one slot.
//!
//! A single Redis runs one script for all measures of a hook, so all keys have one hash tag. Their names are those of
//! earlier versions, whose counts therefore go on.
//!
//! In a cluster a user's keys are on the user's slot, a coupon's on the coupon's, and an Idempotency-Key is on a slot of
//! its own, because it conflicts across users. What is measured over all requests would make one slot hot. So it is
//! divided into [`PARTS`] where its promise allows that, and a request uses the part that its id selects:
//!
//! - A bucket whose burst is large. Every part has an equal share of the rate and of the burst, so all parts together
//!   never give more than the bucket. A request may find its part empty while another has a token: below
//!   [`BURST_PER_PART_MIN`] that would be frequent, so smaller buckets stay whole.
//! - A sequence. Part `p` gives the numbers `p`, `p + PARTS`, `p + 2 * PARTS`, …: each number once, but not in order.
//!
//! A count stays whole, because it numbers all requests: one node serves it.

use std::fmt::{Arguments, Write};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::slots::{SLOTS, slot_of, tag_within};
use crate::counters::{Hook, Measure, PerMeasure, Scope, Subject};
use crate::coupon::{CouponId, Fingerprint, UserId};

/// Enough that the nodes of a cluster get almost equal numbers of parts. A prime: numbers of a part that follow each
/// other then visit all remainders, so a round-robin shard picker uses every shard equally.
pub(super) const PARTS: u8 = 31;
/// Of 256 tokens, a random distribution of requests leaves about 16 (6%) unused in one part while another is empty.
const BURST_PER_PART_MIN: u32 = 256;

/// What keys have in common that are on one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Home {
    /// All keys of a single Redis.
    Server,
    User(UserId),
    Coupon(CouponId),
    IdempotencyKey(Fingerprint),
    /// What is measured over all requests, and stays whole.
    Whole,
    Part(u8),
}

/// A measure of a request, and where it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) hook: Hook,
    pub(super) measure: Measure,
    pub(super) home: Home,
}

impl Counter {
    pub(super) const fn is_count(&self) -> bool {
        matches!(self.measure, Measure::Count { .. })
    }
}

/// What one call to Redis takes for a request: its keys have one home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) home: Home,
    /// The claim of the Idempotency-Key, if this call makes one.
    pub(super) claim: Option<Claim>,
    /// With their positions among the measures of the hook.
    pub(super) counters: PerMeasure<(usize, Counter)>,
}

/// What an attempt of a request claims: its Idempotency-Key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) key: Fingerprint,
    /// The hook whose call claims. Each claims under its own name, so a late answer releases only its own claim. `None` is
    /// all hooks of the attempt: the answers of some may be lost.
    pub(super) hook: Option<Hook>,
}

impl Claim {
    /// Who claims, as the value of the key has it: eight hexadecimal digits, and a letter for the hook.
    pub(super) fn claimant(&self, subject: &Subject) -> String {
        let hook = match self.hook {
            Some(Hook::RateShaper) => "r",
            Some(Hook::UserLimit) => "u",
            Some(Hook::ShardPicker) => "s",
            None => "",
        };
        format!("{:08x}{hook}", subject.attempt)
    }
}

/// Names keys, with a prefix of its own for each system that uses the Redis.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: Arc<str>,
    /// The hash tag of every part, in a cluster.
    parts: Option<Arc<[String]>>,
}

impl Keys {
    pub(super) fn on_one_server(prefix: &str) -> Self {
        Self { prefix: prefix.into(), parts: None }
    }

    pub(super) fn in_cluster(prefix: &str) -> Self {
        let base = format!("{prefix}:all");
        let first_slot = |part: u16| part * (SLOTS / u16::from(PARTS));
        let parts = (0..u16::from(PARTS)).map(|part| tag_within(&base, &(first_slot(part)..=first_slot(part + 1) - 1)));
        Self { prefix: prefix.into(), parts: Some(parts.collect()) }
    }

    pub(super) fn counter(&self, hook: Hook, measure: Measure, subject: &Subject) -> Counter {
        let home = match measure.scope() {
            _ if self.parts.is_none() => Home::Server,
            Scope::UserOfCoupon | Scope::User => Home::User(subject.user_id),
            Scope::Coupon => Home::Coupon(subject.coupon_id),
            Scope::Gateway if is_divisible(&measure) => Home::Part(part_of(subject)),
            Scope::Gateway => Home::Whole,
        };
        Counter { hook, measure, home }
    }

    /// The calls that take the measures of a hook and claim the subject's Idempotency-Key: one, but in a cluster.
    pub(super) fn groups(&self, hook: Hook, measures: &[Measure], subject: &Subject) -> Vec<Group> {
        let mut groups = Vec::with_capacity(1);
        if let Some(key) = subject.fingerprint {
            group_at(&mut groups, self.home_of_key(key)).claim = Some(Claim { key, hook: Some(hook) });
        }
        for (position, measure) in measures.iter().enumerate() {
            let counter = self.counter(hook, *measure, subject);
            group_at(&mut groups, counter.home).counters.push((position, counter));
        }
        groups
    }

    /// The slot of all keys of a home. A single Redis has no slots.
    pub(super) fn slot(&self, home: Home) -> u16 {
        let mut tag = String::with_capacity(48);
        self.push_tag(&mut tag, home);
        if home == Home::Server { 0 } else { slot_of(&tag) }
    }

    /// Such as `{sluice:key:00f1…}:key:00f1…`: the fingerprint of the key. `reserve.lua` describes its value.
    pub(super) fn idempotency_key(&self, fingerprint: Fingerprint) -> String {
        let mut key = self.key_at(self.home_of_key(fingerprint));
        push(&mut key, format_args!(":key:{:016x}", fingerprint.0));
        key
    }

    pub(super) fn home_of_key(&self, fingerprint: Fingerprint) -> Home {
        if self.parts.is_none() { Home::Server } else { Home::IdempotencyKey(fingerprint) }
    }

    /// Such as `{sluice:user:7}:user-limit:count:0:user-of-coupon:104:7`: the hook, the measure with its numbers, the
    /// scope and the ids it selects. A count has a second key, for its older requests.
    pub(super) fn push_keys(&self, keys: &mut Vec<String>, counter: &Counter, subject: &Subject) {
        let Counter { hook, measure, home } = counter;
        let (mut key, hook) = (self.key_at(*home), hook.as_str());
        match measure {
            Measure::Count { window_ms, .. } => push(&mut key, format_args!(":{hook}:count:{window_ms}")),
            Measure::Bucket { requests, per_ms, burst, .. } => {
                push(&mut key, format_args!(":{hook}:bucket:{requests}:{per_ms}:{burst}"));
            }
            Measure::Sequence { .. } => push(&mut key, format_args!(":{hook}:sequence")),
        }
        let (coupon_id, user_id) = measure.scope().of(subject);
        push(&mut key, format_args!(":{}", measure.scope().as_str()));
        coupon_id.inspect(|id| push(&mut key, format_args!(":{id}")));
        user_id.inspect(|id| push(&mut key, format_args!(":{id}")));
        let older = matches!(measure, Measure::Count { .. }).then(|| format!("{key}:older"));
        keys.push(key);
        keys.extend(older);
    }

    /// For probes of a single Redis, or of the node that serves these slots.
    pub(super) fn probe_key(&self, slots: Option<&RangeInclusive<u16>>) -> String {
        let prefix = &self.prefix;
        let tag = slots.map_or_else(|| prefix.to_string(), |slots| tag_within(&format!("{prefix}:proof"), slots));
        format!("{{{tag}}}:proof")
    }

    fn key_at(&self, home: Home) -> String {
        let mut key = String::with_capacity(128);
        key.push('{');
        self.push_tag(&mut key, home);
        key.push('}');
        key
    }

    fn push_tag(&self, text: &mut String, home: Home) {
        let prefix = &self.prefix;
        match (home, &self.parts) {
            (Home::Part(part), Some(parts)) => text.push_str(&parts[usize::from(part)]),
            (Home::Server | Home::Part(_), _) => text.push_str(prefix),
            (Home::User(id), _) => push(text, format_args!("{prefix}:user:{id}")),
            (Home::Coupon(id), _) => push(text, format_args!("{prefix}:coupon:{id}")),
            (Home::IdempotencyKey(Fingerprint(bits)), _) => push(text, format_args!("{prefix}:key:{bits:016x}")),
            (Home::Whole, _) => push(text, format_args!("{prefix}:all")),
        }
    }
}

fn push(text: &mut String, arguments: Arguments<'_>) {
    let written = text.write_fmt(arguments);
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

fn group_at(groups: &mut Vec<Group>, home: Home) -> &mut Group {
    let index = groups.iter().position(|group| group.home == home).unwrap_or_else(|| {
        groups.push(Group { home, claim: None, counters: PerMeasure::new() });
        groups.len() - 1
    });
    &mut groups[index]
}

fn is_divisible(measure: &Measure) -> bool {
    match measure {
        Measure::Count { .. } => false,
        Measure::Bucket { burst, .. } => burst.get() / u32::from(PARTS) >= BURST_PER_PART_MIN,
        Measure::Sequence { .. } => true,
    }
}

fn part_of(subject: &Subject) -> u8 {
    let part = subject.request_id.entropy() % u64::from(PARTS);
    u8::try_from(part).expect("less than PARTS")
}
