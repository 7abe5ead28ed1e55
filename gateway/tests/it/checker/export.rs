//! The export against what clients saw.

use std::collections::HashMap;

use serde::Deserialize;

use super::SOLD_OUT;
use super::report::{Evidence, Violation};

/// One line of `sluice coupon export`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExportLine {
    pub(crate) request_id: String,
    pub(crate) user_id: u64,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) shard_no: Option<u32>,
}

impl ExportLine {
    pub(super) fn is_issued(&self) -> bool {
        self.status == "ISSUED"
    }
}

/// Of a record that no gateway wrote.
const INVALID: &str = "INVALID";

impl Evidence<'_> {
    /// One line for each outcome of the audit, and each as the status call said. What no client has a receipt for is
    /// of a user who got no answer.
    pub(super) fn export(&self) -> Vec<Violation> {
        let mut violations = self.totals();
        let lines: HashMap<&str, &ExportLine> =
            self.export.iter().map(|line| (line.request_id.as_str(), line)).collect();
        let audited = self.audit.granted + self.audit.sold_out + self.audit.user_limit + self.audit.invalid;
        if (lines.len(), self.export.len()) != (audited as usize, audited as usize) {
            violations.push(Violation::ExportIsIncomplete { lines: self.export.len(), requests: lines.len(), audited });
        }
        for (&request_id, exchanges) in &self.receipts {
            let Some(outcome) = self.outcome(request_id) else { continue };
            let is_the_same = lines.get(request_id).is_some_and(|line| {
                (line.user_id, &line.status, &line.reason, line.shard_no)
                    == (exchanges[0].user, &outcome.status, &outcome.reason, outcome.shard_no)
            });
            if !is_the_same {
                violations.push(Violation::ExportDiffers { request_id: request_id.to_owned() });
            }
        }
        let mut unanswered = self.uncertain_of_users();
        let without_receipt = lines.values().filter(|line| {
            !self.receipts.contains_key(line.request_id.as_str()) && line.reason.as_deref() != Some(INVALID)
        });
        for line in without_receipt {
            match unanswered.get_mut(&line.user_id).filter(|left| **left > 0) {
                Some(left) => *left -= 1,
                None => violations.push(Violation::ExportedButNotSent { request_id: line.request_id.clone() }),
            }
        }
        violations
    }

    /// Unlike what clients saw, the export has every outcome: it must agree with the audit exactly.
    fn totals(&self) -> Vec<Violation> {
        let count = |is: &dyn Fn(&ExportLine) -> bool| self.export.iter().filter(|line| is(line)).count() as u64;
        let rejected = |reason| count(&|line| line.reason.as_deref() == Some(reason));
        let audit = self.audit;
        let mut compared = vec![
            ("ISSUED".to_owned(), count(&ExportLine::is_issued), audit.granted),
            (SOLD_OUT.to_owned(), rejected(SOLD_OUT), audit.sold_out),
            ("USER_LIMIT".to_owned(), rejected("USER_LIMIT"), audit.user_limit),
            (INVALID.to_owned(), rejected(INVALID), audit.invalid),
        ];
        compared.extend(audit.shards.iter().map(|shard| {
            let issued = count(&|line| line.is_issued() && line.shard_no == Some(shard.shard_no));
            (format!("shard {}", shard.shard_no), issued, shard.granted)
        }));
        let differ = compared.into_iter().filter(|(_, lines, audited)| lines != audited);
        differ.map(|(what, lines, audited)| Violation::ExportContradictsAudit { what, lines, audited }).collect()
    }
}
