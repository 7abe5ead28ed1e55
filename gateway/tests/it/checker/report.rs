//! The verify on a history.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Instant;

use super::{Audit, Books, Exchange, ExportLine, Observations, Observed, Outcome, Reply, SOLD_OUT};

/// Lines of each kind that a report prints.
const PRINTED_MAX: usize = 5;

/// The campaign's limits, which the audit must show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CampaignLimits {
    pub(crate) total: u64,
    pub(crate) per_user_limit: u32,
    /// A top-up explains SOLD_OUT answers although stock remains at the end.
    pub(crate) was_topped_up: bool,
}

/// A promise of the design that the history contradicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Violation {
    NoOutcome { request_id: String, last: String },
    AcceptedButUnknown { request_id: String },
    OutcomeChanged { request_id: String, seen: String },
    SharedRequestId { request_id: String },
    TwoRequestIdsForKey { key: String },
    TwoBodiesForKey { key: String, seen: String },
    NoGeneration { request_id: String },
    UserOverLimit { user: u64, issued: u64 },
    GrantedDiffers { seen: u64, uncertain: u64, granted: u64 },
    RejectedDiffers { reason: &'static str, seen: u64, uncertain: u64, audited: u64 },
    ShardDiffers { shard_no: u32, seen: u64, granted: u64 },
    NotBalanced { granted: u64, remaining: u64, total: u64 },
    WrongTotal { total: u64, expected: u64 },
    SoldOutWithStock { rejected: u64, remaining: u64 },
    InconsistentAudit { what: &'static str },
    ExportIsIncomplete { lines: usize, requests: usize, audited: u64 },
    ExportDiffers { request_id: String },
    ExportContradictsAudit { what: String, lines: u64, audited: u64 },
    ExportedButNotSent { request_id: String },
}

pub(crate) struct Report {
    pub(crate) sent: usize,
    pub(crate) accepted: usize,
    /// By status and reason.
    pub(crate) refused: BTreeMap<(u16, String), usize>,
    /// By `ISSUED`, or the reason of the rejection.
    pub(crate) outcomes: BTreeMap<String, usize>,
    /// Requests without a known answer; each may have been accepted.
    pub(crate) uncertain: u64,
    pub(crate) audit: Audit,
    pub(crate) violations: Vec<Violation>,
}

/// Compares the requests and outcomes of one coupon with its audit and its export.
pub(crate) fn check(
    exchanges: &[Exchange],
    observations: &Observations,
    keys_lost: &[RangeInclusive<Instant>],
    limits: CampaignLimits,
    books: Books,
) -> Report {
    let evidence = Evidence::of(exchanges, observations, keys_lost, &books);
    let violations = [
        evidence.names(),
        evidence.ends(),
        evidence.limits(limits),
        evidence.stock(limits),
        evidence.rejections(),
        evidence.shards(),
        evidence.export(),
        of_audit(&books.audit, limits),
    ];
    Report {
        sent: evidence.exchanges.len(),
        accepted: evidence.receipts.values().map(Vec::len).sum(),
        refused: evidence.refused(),
        outcomes: evidence.outcomes(),
        uncertain: evidence.uncertain,
        violations: violations.into_iter().flatten().collect(),
        audit: books.audit,
    }
}

pub(super) struct Evidence<'a> {
    pub(super) exchanges: Vec<&'a Exchange>,
    /// By request id. A reused key gives several exchanges the same id.
    pub(super) receipts: HashMap<&'a str, Vec<&'a Exchange>>,
    observations: &'a Observations,
    pub(super) keys_lost: &'a [RangeInclusive<Instant>],
    uncertain: u64,
    pub(super) audit: &'a Audit,
    pub(super) export: &'a [ExportLine],
}

impl<'a> Evidence<'a> {
    fn of(
        exchanges: &'a [Exchange],
        observations: &'a Observations,
        keys_lost: &'a [RangeInclusive<Instant>],
        books: &'a Books,
    ) -> Self {
        let Books { audit, export } = books;
        let exchanges: Vec<_> = exchanges.iter().filter(|exchange| exchange.coupon == audit.coupon_id).collect();
        let mut receipts: HashMap<&str, Vec<&Exchange>> = HashMap::new();
        for exchange in &exchanges {
            if let Reply::Accepted(receipt) = &exchange.reply {
                receipts.entry(&receipt.request_id).or_default().push(exchange);
            }
        }
        let uncertain = uncertain(&exchanges).count() as u64;
        Self { exchanges, receipts, observations, keys_lost, uncertain, audit, export }
    }

    pub(super) fn outcome(&self, request_id: &str) -> Option<&'a Outcome> {
        match self.observations.get(request_id)?.last()? {
            Observed::Final(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Known outcomes, with the user.
    fn final_outcomes(&self) -> impl Iterator<Item = (u64, &'a Outcome)> {
        self.receipts.iter().filter_map(|(id, exchanges)| Some((exchanges[0].user, self.outcome(id)?)))
    }

    fn count(&self, is: impl Fn(&Outcome) -> bool) -> u64 {
        self.final_outcomes().filter(|(_, outcome)| is(outcome)).count() as u64
    }

    /// How many there are of each user.
    pub(super) fn uncertain_of_users(&self) -> HashMap<u64, usize> {
        let mut of_users = HashMap::new();
        uncertain(&self.exchanges).for_each(|exchange| *of_users.entry(exchange.user).or_default() += 1);
        of_users
    }

    /// Whether uncertain requests can account for the difference between the observed and the audited number.
    fn explains(&self, seen: u64, audited: u64) -> bool {
        (seen..=seen + self.uncertain).contains(&audited)
    }

    /// Every 202 has exactly one outcome, which never changes. Until then no gateway answers that it is unknown.
    fn ends(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for &request_id in self.receipts.keys() {
            let seen = self.observations.get(request_id).map_or(&[][..], Vec::as_slice);
            let first_end = seen.iter().position(|seen| matches!(seen, Observed::Final(_)));
            let request_id = request_id.to_owned();
            if seen.contains(&Observed::Unknown) {
                violations.push(Violation::AcceptedButUnknown { request_id: request_id.clone() });
            }
            match first_end {
                None => violations.push(Violation::NoOutcome { request_id, last: format!("{:?}", seen.last()) }),
                Some(place) if place + 1 < seen.len() => {
                    violations.push(Violation::OutcomeChanged { request_id, seen: format!("{:?}", &seen[place..]) });
                }
                Some(_) => {}
            }
        }
        violations
    }

    /// By the export, which also has what clients got no answer about.
    fn limits(&self, limits: CampaignLimits) -> Vec<Violation> {
        let mut issued: BTreeMap<u64, u64> = BTreeMap::new();
        for line in self.export.iter().filter(|line| line.is_issued()) {
            *issued.entry(line.user_id).or_default() += 1;
        }
        let over = issued.into_iter().filter(|(_, issued)| *issued > u64::from(limits.per_user_limit));
        over.map(|(user, issued)| Violation::UserOverLimit { user, issued }).collect()
    }

    /// Neither oversold nor undersold.
    fn stock(&self, limits: CampaignLimits) -> Vec<Violation> {
        let mut violations = Vec::new();
        let (seen, uncertain) = (self.count(Outcome::is_issued), self.uncertain);
        let Audit { granted, remaining, .. } = *self.audit;
        if !self.explains(seen, granted) {
            violations.push(Violation::GrantedDiffers { seen, uncertain, granted });
        }
        let refused =
            |exchange: &&&Exchange| matches!(&exchange.reply, Reply::Refused { reason, .. } if reason == SOLD_OUT);
        let at_once = self.exchanges.iter().filter(refused).count() as u64;
        let rejected = at_once + self.count(Outcome::is_sold_out);
        if rejected > 0 && remaining > 0 && !limits.was_topped_up {
            violations.push(Violation::SoldOutWithStock { rejected, remaining });
        }
        violations
    }

    fn rejections(&self) -> Vec<Violation> {
        let Audit { sold_out, user_limit, invalid, .. } = *self.audit;
        let audited = [(SOLD_OUT, sold_out), ("USER_LIMIT", user_limit), ("INVALID", invalid)];
        let uncertain = self.uncertain;
        let lines = audited.map(|(reason, audited)| {
            let seen = self.count(|outcome| outcome.reason.as_deref() == Some(reason));
            (!self.explains(seen, audited)).then_some(Violation::RejectedDiffers { reason, seen, uncertain, audited })
        });
        lines.into_iter().flatten().collect()
    }

    fn shards(&self) -> Vec<Violation> {
        let mut audited: BTreeMap<u32, u64> = BTreeMap::new();
        audited.extend(self.audit.shards.iter().map(|shard| (shard.shard_no, shard.granted)));
        let mut seen: BTreeMap<u32, u64> = BTreeMap::new();
        for shard_no in
            self.final_outcomes().filter(|(_, outcome)| outcome.is_issued()).filter_map(|(_, end)| end.shard_no)
        {
            *seen.entry(shard_no).or_default() += 1;
            audited.entry(shard_no).or_default();
        }
        let compared = audited.into_iter().map(|(no, granted)| (no, seen.get(&no).copied().unwrap_or(0), granted));
        compared
            .filter(|&(_, seen, granted)| !self.explains(seen, granted))
            .map(|(shard_no, seen, granted)| Violation::ShardDiffers { shard_no, seen, granted })
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
        for (_, outcome) in self.final_outcomes() {
            *outcomes.entry(outcome.word().to_owned()).or_default() += 1;
        }
        outcomes
    }
}

/// Requests that may or may not have been accepted. An answered retry settles it.
fn uncertain<'a>(exchanges: &[&'a Exchange]) -> impl Iterator<Item = &'a Exchange> {
    let request = |exchange: &'a Exchange| Some((exchange.key.as_deref()?, exchange.user, exchange.body));
    let answered = exchanges.iter().filter(|exchange| exchange.reply.is_answer());
    let mut decided: HashSet<_> = answered.filter_map(|exchange| request(exchange)).collect();
    let unanswered = exchanges.iter().filter(|exchange| exchange.reply.is_uncertain()).copied();
    unanswered.filter(move |exchange| request(exchange).is_none_or(|request| decided.insert(request)))
}

/// Checks that need only the audit.
fn of_audit(audit: &Audit, limits: CampaignLimits) -> Vec<Violation> {
    let Audit { granted, remaining, total, .. } = *audit;
    let mut violations = Vec::new();
    if granted + remaining != total {
        violations.push(Violation::NotBalanced { granted, remaining, total });
    }
    if total != limits.total {
        violations.push(Violation::WrongTotal { total, expected: limits.total });
    }
    let sum = |of: fn(&super::ShardAudit) -> u64| audit.shards.iter().map(of).sum::<u64>();
    let settled = granted + audit.sold_out + audit.user_limit;
    let contradictions = [
        (audit.balanced != (granted + remaining == total), "balanced"),
        (!audit.recount.agrees, "tallies"),
        (audit.recount.users_over_limit > 0, "users over the limit"),
        (audit.users > granted, "more users than grants"),
        (audit.per_user_limit != limits.per_user_limit, "the limit of a user"),
        (sum(|shard| shard.granted) != granted, "granted by shard"),
        (sum(|shard| shard.remaining) != remaining, "remaining by shard"),
        (!(settled..=settled + audit.invalid).contains(&sum(|shard| shard.picked)), "picked by shard"),
    ];
    let found = contradictions.into_iter().filter(|(is_contradiction, _)| *is_contradiction);
    violations.extend(found.map(|(_, what)| Violation::InconsistentAudit { what }));
    violations
}

impl Report {
    pub(crate) fn assert_holds(&self) {
        println!("{self}");
        assert!(self.violations.is_empty(), "{self}");
    }

    pub(crate) fn issued(&self) -> usize {
        self.outcomes.get("ISSUED").copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, accepted, uncertain, audit, violations, .. } = self;
        writeln!(f, "sent {sent}, accepted {accepted}, without an answer {uncertain}")?;
        writeln!(f, "refused at once: {:?}", self.refused)?;
        writeln!(f, "outcomes: {:?}", self.outcomes)?;
        let Audit { total, granted, remaining, users, .. } = audit;
        writeln!(f, "audit: {granted} granted to {users} users, {remaining} of {total} remain")?;
        let mut printed: HashMap<_, usize> = HashMap::new();
        for violation in violations {
            let count = printed.entry(std::mem::discriminant(violation)).or_default();
            *count += 1;
            if *count <= PRINTED_MAX {
                writeln!(f, "VIOLATION: {violation:?}")?;
            }
        }
        write!(f, "{} violations", violations.len())
    }
}
