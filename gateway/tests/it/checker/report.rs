//! The verdict on a history.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::{Audit, Exchange, Outcome, Reply, SOLD_OUT, Seen, Sightings};

/// Lines of each kind that a report prints.
const PRINTED_MAX: usize = 5;

/// What the campaign was made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promised {
    pub(crate) total: u64,
    pub(crate) per_user_limit: u32,
    /// Then SOLD_OUT may have been the truth before, with stock left at the end.
    pub(crate) was_topped_up: bool,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    NoOutcome { request_id: String, last: String },
    OutcomeChanged { request_id: String, seen: String },
    OneNameForTwo { request_id: String },
    TwoNamesForOneKey { key: String },
    NoGeneration { request_id: String },
    UserOverLimit { user: u64, issued: u64 },
    GrantedDiffers { seen: u64, uncertain: u64, granted: u64 },
    RejectedDiffers { reason: &'static str, seen: u64, uncertain: u64, audited: u64 },
    ShardDiffers { shard_no: u32, seen: u64, granted: u64 },
    NotBalanced { granted: u64, remaining: u64, total: u64 },
    WrongTotal { total: u64, promised: u64 },
    SoldOutWithStock { turned_away: u64, remaining: u64 },
    AuditContradictsItself { what: &'static str },
}

/// What happened, and which promises were broken.
pub(crate) struct Report {
    pub(crate) sent: usize,
    pub(crate) accepted: usize,
    /// By status and reason.
    pub(crate) refused: BTreeMap<(u16, String), usize>,
    /// By `ISSUED`, or the reason of the rejection.
    pub(crate) outcomes: BTreeMap<String, usize>,
    /// Requests without an answer: each may have been accepted.
    pub(crate) uncertain: u64,
    pub(crate) audit: Audit,
    pub(crate) broken: Vec<Broken>,
}

/// Holds what was seen of one coupon against its audit.
pub(crate) fn check(exchanges: &[Exchange], sightings: &Sightings, promised: Promised, audit: Audit) -> Report {
    let evidence = Evidence::of(exchanges, sightings, &audit);
    let broken = [
        evidence.names(),
        evidence.ends(),
        evidence.limits(promised),
        evidence.stock(promised),
        evidence.rejections(),
        evidence.shards(),
        of_audit(&audit, promised),
    ];
    Report {
        sent: evidence.exchanges.len(),
        accepted: evidence.receipts.values().map(Vec::len).sum(),
        refused: evidence.refused(),
        outcomes: evidence.outcomes(),
        uncertain: evidence.uncertain,
        broken: broken.into_iter().flatten().collect(),
        audit,
    }
}

struct Evidence<'a> {
    exchanges: Vec<&'a Exchange>,
    /// By request id: more than one where a key was used again.
    receipts: HashMap<&'a str, Vec<&'a Exchange>>,
    sightings: &'a Sightings,
    uncertain: u64,
    audit: &'a Audit,
}

impl<'a> Evidence<'a> {
    fn of(exchanges: &'a [Exchange], sightings: &'a Sightings, audit: &'a Audit) -> Self {
        let exchanges: Vec<_> = exchanges.iter().filter(|exchange| exchange.coupon == audit.coupon_id).collect();
        let mut receipts: HashMap<&str, Vec<&Exchange>> = HashMap::new();
        for exchange in &exchanges {
            if let Reply::Accepted(receipt) = &exchange.reply {
                receipts.entry(&receipt.request_id).or_default().push(exchange);
            }
        }
        let uncertain = uncertain(&exchanges);
        Self { exchanges, receipts, sightings, uncertain, audit }
    }

    fn outcome(&self, request_id: &str) -> Option<&'a Outcome> {
        match self.sightings.get(request_id)?.last()? {
            Seen::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The known outcomes, with who asked.
    fn ended(&self) -> impl Iterator<Item = (u64, &'a Outcome)> {
        self.receipts.iter().filter_map(|(id, exchanges)| Some((exchanges[0].user, self.outcome(id)?)))
    }

    fn count(&self, is: impl Fn(&Outcome) -> bool) -> u64 {
        self.ended().filter(|(_, outcome)| is(outcome)).count() as u64
    }

    /// Whether an audited number is what was seen, or that and some of the requests without an answer.
    fn explains(&self, seen: u64, audited: u64) -> bool {
        (seen..=seen + self.uncertain).contains(&audited)
    }

    /// One name for one request, and one request for one key.
    fn names(&self) -> Vec<Broken> {
        let mut broken = Vec::new();
        let mut of_key: HashMap<&str, &str> = HashMap::new();
        for (&request_id, exchanges) in &self.receipts {
            let first = exchanges[0];
            let is_shared = exchanges.iter().any(|other| other.key.is_none() || other.key != first.key);
            if exchanges.len() > 1 && is_shared {
                broken.push(Broken::OneNameForTwo { request_id: request_id.to_owned() });
            }
            if let Some(key) = &first.key
                && of_key.insert(key, request_id).is_some()
            {
                broken.push(Broken::TwoNamesForOneKey { key: key.clone() });
            }
            let has_generation = |exchange: &&Exchange| matches!(&exchange.reply, Reply::Accepted(receipt) if receipt.generation.is_some());
            if !exchanges.iter().all(has_generation) {
                broken.push(Broken::NoGeneration { request_id: request_id.to_owned() });
            }
        }
        broken
    }

    /// Exactly one outcome for every 202, which never changes.
    fn ends(&self) -> Vec<Broken> {
        let mut broken = Vec::new();
        for &request_id in self.receipts.keys() {
            let seen = self.sightings.get(request_id).map_or(&[][..], Vec::as_slice);
            let first_end = seen.iter().position(|seen| matches!(seen, Seen::Ended(_)));
            let request_id = request_id.to_owned();
            match first_end {
                None => broken.push(Broken::NoOutcome { request_id, last: format!("{:?}", seen.last()) }),
                Some(place) if place + 1 < seen.len() => {
                    broken.push(Broken::OutcomeChanged { request_id, seen: format!("{:?}", &seen[place..]) });
                }
                Some(_) => {}
            }
        }
        broken
    }

    fn limits(&self, promised: Promised) -> Vec<Broken> {
        let mut issued: BTreeMap<u64, u64> = BTreeMap::new();
        for (user, outcome) in self.ended() {
            *issued.entry(user).or_default() += u64::from(outcome.is_issued());
        }
        let over = issued.into_iter().filter(|(_, issued)| *issued > u64::from(promised.per_user_limit));
        over.map(|(user, issued)| Broken::UserOverLimit { user, issued }).collect()
    }

    /// Neither oversold nor undersold.
    fn stock(&self, promised: Promised) -> Vec<Broken> {
        let mut broken = Vec::new();
        let (seen, uncertain) = (self.count(Outcome::is_issued), self.uncertain);
        let Audit { granted, remaining, .. } = *self.audit;
        if !self.explains(seen, granted) {
            broken.push(Broken::GrantedDiffers { seen, uncertain, granted });
        }
        let refused =
            |exchange: &&&Exchange| matches!(&exchange.reply, Reply::Refused { reason, .. } if reason == SOLD_OUT);
        let at_once = self.exchanges.iter().filter(refused).count() as u64;
        let turned_away = at_once + self.count(Outcome::is_sold_out);
        if turned_away > 0 && remaining > 0 && !promised.was_topped_up {
            broken.push(Broken::SoldOutWithStock { turned_away, remaining });
        }
        broken
    }

    fn rejections(&self) -> Vec<Broken> {
        let Audit { sold_out, user_limit, invalid, .. } = *self.audit;
        let audited = [(SOLD_OUT, sold_out), ("USER_LIMIT", user_limit), ("INVALID", invalid)];
        let uncertain = self.uncertain;
        let lines = audited.map(|(reason, audited)| {
            let seen = self.count(|outcome| outcome.reason.as_deref() == Some(reason));
            (!self.explains(seen, audited)).then_some(Broken::RejectedDiffers { reason, seen, uncertain, audited })
        });
        lines.into_iter().flatten().collect()
    }

    fn shards(&self) -> Vec<Broken> {
        let mut audited: BTreeMap<u32, u64> = BTreeMap::new();
        audited.extend(self.audit.shards.iter().map(|shard| (shard.shard_no, shard.granted)));
        let mut seen: BTreeMap<u32, u64> = BTreeMap::new();
        for shard_no in self.ended().filter(|(_, outcome)| outcome.is_issued()).filter_map(|(_, end)| end.shard_no) {
            *seen.entry(shard_no).or_default() += 1;
            audited.entry(shard_no).or_default();
        }
        let compared = audited.into_iter().map(|(no, granted)| (no, seen.get(&no).copied().unwrap_or(0), granted));
        compared
            .filter(|&(_, seen, granted)| !self.explains(seen, granted))
            .map(|(shard_no, seen, granted)| Broken::ShardDiffers { shard_no, seen, granted })
            .collect()
    }

    fn refused(&self) -> BTreeMap<(u16, String), usize> {
        let mut refused = BTreeMap::new();
        for exchange in &self.exchanges {
            if let Reply::Refused { status, reason, .. } = &exchange.reply {
                *refused.entry((*status, reason.clone())).or_default() += 1;
            }
        }
        refused
    }

    fn outcomes(&self) -> BTreeMap<String, usize> {
        let mut outcomes = BTreeMap::new();
        for (_, outcome) in self.ended() {
            *outcomes.entry(outcome.word().to_owned()).or_default() += 1;
        }
        outcomes
    }
}

/// Requests of which nobody knows whether they were accepted. A retry under the same key that was
/// answered tells.
fn uncertain(exchanges: &[&Exchange]) -> u64 {
    let is_answered = |exchange: &Exchange| !exchange.reply.is_uncertain();
    let answered = exchanges.iter().filter(|exchange| is_answered(exchange));
    let mut told: HashSet<&str> = answered.filter_map(|exchange| exchange.key.as_deref()).collect();
    let unanswered = exchanges.iter().filter(|exchange| exchange.reply.is_uncertain());
    unanswered.filter(|exchange| exchange.key.as_deref().is_none_or(|key| told.insert(key))).count() as u64
}

/// What an audit must hold whatever was seen.
fn of_audit(audit: &Audit, promised: Promised) -> Vec<Broken> {
    let Audit { granted, remaining, total, .. } = *audit;
    let mut broken = Vec::new();
    if granted + remaining != total {
        broken.push(Broken::NotBalanced { granted, remaining, total });
    }
    if total != promised.total {
        broken.push(Broken::WrongTotal { total, promised: promised.total });
    }
    let sum = |of: fn(&super::ShardAudit) -> u64| audit.shards.iter().map(of).sum::<u64>();
    let settled = granted + audit.sold_out + audit.user_limit;
    let contradictions = [
        (audit.balanced != (granted + remaining == total), "balanced"),
        (audit.users_over_limit > 0, "users over the limit"),
        (audit.users > granted, "more users than grants"),
        (audit.per_user_limit != promised.per_user_limit, "the limit of a user"),
        (sum(|shard| shard.granted) != granted, "granted by shard"),
        (sum(|shard| shard.remaining) != remaining, "remaining by shard"),
        (!(settled..=settled + audit.invalid).contains(&sum(|shard| shard.picked)), "picked by shard"),
    ];
    let said = contradictions.into_iter().filter(|(is_so, _)| *is_so);
    broken.extend(said.map(|(_, what)| Broken::AuditContradictsItself { what }));
    broken
}

impl Report {
    /// Prints what happened.
    ///
    /// # Panics
    /// When a promise was broken.
    pub(crate) fn assert_holds(&self) {
        println!("{self}");
        assert!(self.broken.is_empty(), "{self}");
    }

    pub(crate) fn issued(&self) -> usize {
        self.outcomes.get("ISSUED").copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, accepted, uncertain, audit, broken, .. } = self;
        writeln!(f, "sent {sent}, accepted {accepted}, without an answer {uncertain}")?;
        writeln!(f, "refused at once: {:?}", self.refused)?;
        writeln!(f, "outcomes: {:?}", self.outcomes)?;
        let Audit { total, granted, remaining, users, .. } = audit;
        writeln!(f, "audit: {granted} granted to {users} users, {remaining} of {total} remain")?;
        let mut printed: HashMap<_, usize> = HashMap::new();
        for broken in broken {
            let count = printed.entry(std::mem::discriminant(broken)).or_default();
            *count += 1;
            if *count <= PRINTED_MAX {
                writeln!(f, "BROKEN: {broken:?}")?;
            }
        }
        write!(f, "{} promises broken", broken.len())
    }
}
