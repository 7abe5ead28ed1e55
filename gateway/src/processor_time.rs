//! How long a thread has run.

use std::time::Duration;

/// Of this thread, since it began. What it waited for a processor does not count.
pub(crate) fn of_this_thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_sleeps_uses_none_and_one_that_computes_does() {
        let begun = of_this_thread();
        std::thread::sleep(Duration::from_millis(50));
        assert!(of_this_thread() - begun < Duration::from_millis(40), "it slept");
        let (computing, begun, enough) = (Instant::now(), of_this_thread(), Duration::from_millis(5));
        while of_this_thread() - begun < enough {}
        assert!(computing.elapsed() >= enough / 2, "it runs for no longer than time passes");
    }
}
