//! Why a call of a policy gave no verdict, in the policy's own words where it has any.

use std::fmt::{self, Debug};

use wasmtime::{Instance, Store, Trap, Val, WasmCoreDump};

use super::engine::Bounds;
use crate::telemetry::FailureReason;

/// Policies that are built with the SDK export this global from their core module. It holds the address of the message
/// of the last panic: its length in four bytes, then its text. A component exports no memory, so only a core dump
/// leads there.
const PANIC_EXPORT: &str = "sluice-panic";
/// A longer panic message or verdict is cut.
const DETAIL_BYTES_MAX: usize = 512;
/// Enough to get from the panic machinery of Rust to the function that called it.
const OFFSETS_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: FailureReason,
    pub(super) detail: Option<String>,
}

impl Failure {
    /// Of a call that ended with an error.
    pub(super) fn of_call(error: &wasmtime::Error, store: &mut Store<Bounds>) -> Self {
        let reason = match error.downcast_ref::<Trap>() {
            _ if store.data().was_denied => FailureReason::Memory,
            Some(Trap::Interrupt | Trap::OutOfFuel) => FailureReason::Deadline,
            Some(_) => FailureReason::Trap,
            None => FailureReason::Answer,
        };
        Self { reason, detail: Some(explain(error, store)) }
    }

    pub(super) fn of_verdict(verdict: &impl Debug) -> Self {
        let detail = format!("invalid verdict {}", one_line(&format!("{verdict:?}")));
        Self { reason: FailureReason::Answer, detail: Some(detail) }
    }
}

impl From<FailureReason> for Failure {
    fn from(reason: FailureReason) -> Self {
        Self { reason, detail: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.as_str())?;
        self.detail.iter().try_for_each(|detail| write!(f, ": {detail}"))
    }
}

/// The message of the panic if there was one, otherwise of the error; and where in the core module it happened,
/// innermost call first.
pub(super) fn explain(error: &wasmtime::Error, store: &mut Store<Bounds>) -> String {
    // It exists if the policy's own code ended the call.
    let Some(dump) = error.downcast_ref::<WasmCoreDump>() else { return one_line(&format!("{error:#}")) };
    let panicked = dump.instances().iter().find_map(|instance| panic_message(instance, store));
    let message = panicked.unwrap_or_else(|| one_line(&error.root_cause().to_string()));
    let offsets = dump.frames().iter().filter_map(wasmtime::FrameInfo::module_offset).take(OFFSETS_MAX);
    let offsets: Vec<_> = offsets.map(|offset| format!("{offset:#x}")).collect();
    if offsets.is_empty() { message } else { format!("{message} (at module offset {})", offsets.join(" in ")) }
}

/// Reads what the instance claims to be its panic message, wherever it points to.
fn panic_message(instance: &Instance, store: &mut Store<Bounds>) -> Option<String> {
    let Val::I32(address) = instance.get_global(&mut *store, PANIC_EXPORT)?.get(&mut *store) else { return None };
    let memory = instance.get_memory(&mut *store, "memory")?;
    let stored = memory.data(&store).get(address.cast_unsigned() as usize..)?;
    let (length, text) = stored.split_first_chunk()?;
    let length = (u32::from_le_bytes(*length) as usize).min(DETAIL_BYTES_MAX);
    let text = String::from_utf8_lossy(text.get(..length)?);
    (length > 0).then(|| one_line(&text))
}

/// A policy's words go into a log line. It must not be able to add another one.
pub(super) fn one_line(text: &str) -> String {
    let text = text.get(..text.floor_char_boundary(DETAIL_BYTES_MAX)).unwrap_or_default();
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_lines_becomes_one_bounded_line() {
        assert_eq!(
            one_line("panicked at a.rs:1:2:\nleft: 1\r\n\x1b[31mright: 2"),
            "panicked at a.rs:1:2: left: 1 [31mright: 2"
        );
        assert_eq!(one_line(&"ä".repeat(1000)).len(), DETAIL_BYTES_MAX);
    }

    #[test]
    fn a_failure_without_a_detail_is_its_reason() {
        assert_eq!(Failure::from(FailureReason::Busy).to_string(), "busy");
        assert_eq!(Failure::of_verdict(&7).to_string(), "answer: invalid verdict 7");
    }
}
