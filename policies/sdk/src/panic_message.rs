//! Leaves the message of a panic where the gateway finds it. A policy has no output: after the trap, the gateway reads
//! the text from the policy's memory.

use std::fmt::{self, Display, Write};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

/// The gateway reads no more.
const TEXT_BYTES_MAX: usize = 512;

/// The gateway knows this layout: the length of the text, then the text.
#[repr(C)]
struct PanicText {
    bytes: AtomicU32,
    text: [AtomicU8; TEXT_BYTES_MAX],
}

/// The linker exports its address as a global of the core module.
#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "an exported name must be unique: no other crate exports this one")]
#[unsafe(export_name = "sluice-panic")]
static PANIC: PanicText = PanicText::new();

/// Every later panic of this instance stores its message.
#[cfg(target_arch = "wasm32")]
pub(crate) fn store_messages() {
    std::panic::set_hook(Box::new(|panic| PANIC.store(panic)));
}

impl PanicText {
    const fn new() -> Self {
        Self { bytes: AtomicU32::new(0), text: [const { AtomicU8::new(0) }; TEXT_BYTES_MAX] }
    }

    fn store(&self, message: &impl Display) {
        self.bytes.store(0, Relaxed);
        // A message that does not fit is cut.
        let _ = write!(Appended(self), "{message}");
    }
}

struct Appended<'a>(&'a PanicText);

impl Write for Appended<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let length = self.0.bytes.load(Relaxed);
            self.0.text.get(length as usize).ok_or(fmt::Error)?.store(byte, Relaxed);
            self.0.bytes.store(length + 1, Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &PanicText) -> String {
        let bytes = text.text.iter().take(text.bytes.load(Relaxed) as usize).map(|byte| byte.load(Relaxed)).collect();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_message_replaces_the_one_before_and_is_cut_where_the_room_ends() {
        let text = PanicText::new();
        for (message, expected) in [("a long first one", 16), ("short", 5), (&"x".repeat(600), TEXT_BYTES_MAX)] {
            text.store(&message);
            assert_eq!(stored(&text), message[..expected]);
        }
    }
}
