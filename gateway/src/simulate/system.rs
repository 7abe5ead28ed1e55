//! The system that is simulated, and its speed.

use std::time::Duration;

/// The system that is simulated, and its speed.
#[derive(Debug, Clone, PartialEq)]
pub struct System {
    /// They share the counters.
    pub gateways: u32,
    pub partitions: u32,
    /// The most records that one transaction settles.
    pub batch_records_max: u32,
    /// Settlements at the same time. An embedded ledger has one writer: the partitions that wait for it share a
    /// transaction.
    pub transactions_max: u32,
    /// The interval at which gateways read the stock. `None` if they settle themselves, and know it at once.
    pub stock_poll: Option<Duration>,
    pub speed: Speed,
    /// How many times as long settlement takes in the partition of the first shard.
    pub slow_partition: f64,
}

/// How long the steps take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// Making a group of records durable. The records that arrive meanwhile are the next group.
    pub append: Duration,
    /// One transaction of settlement, however many records it settles.
    pub transaction: Duration,
    /// Each record of a transaction.
    pub record: Duration,
}

impl Speed {
    /// Roughly a log and a ledger in files.
    pub const EMBEDDED: Self = Self {
        append: Duration::from_millis(1),
        transaction: Duration::from_millis(1),
        record: Duration::from_micros(20),
    };
    /// Roughly Kafka, and MariaDB nearby: about 66,000 records a second in 12 partitions.
    pub const SERVERS: Self = Self {
        append: Duration::from_millis(3),
        transaction: Duration::from_millis(3),
        record: Duration::from_micros(180),
    };

    /// Of a transaction. One that cannot decide its first record writes nothing: it only finds out which shards to read.
    pub(super) fn settlement(&self, records: usize) -> Duration {
        match u32::try_from(records).unwrap_or(u32::MAX) {
            0 => Duration::ZERO,
            records => self.transaction + self.record * records,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_takes_its_time_and_that_of_its_records_unless_it_settles_none() {
        let speed =
            Speed { transaction: Duration::from_millis(5), record: Duration::from_millis(2), ..Speed::EMBEDDED };
        assert_eq!([0, 1, 3].map(|records| speed.settlement(records).as_millis()), [0, 7, 11]);
    }
}
