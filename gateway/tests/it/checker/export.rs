//! The export against what clients saw.

use std::collections::HashMap;

use serde::Deserialize;

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

/// Of a record that no gateway wrote.
const INVALID: &str = "INVALID";

impl Evidence<'_> {
    /// One line for each outcome of the audit, and each as the status call said. What no client has a receipt for is
    /// of a user who got no answer.
    pub(super) fn export(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
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
}
