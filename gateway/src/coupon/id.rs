//! Identifiers. Numeric ones fit a signed 64-bit column, which every supported database has.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};
use uuid::{NoContext, Timestamp, Uuid};

use super::Offset;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an integer from 1 to {}", i64::MAX)]
pub struct OutOfRange;

macro_rules! positive_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name(i64);

        impl $name {
            /// From 1 to `i64::MAX`.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0.cast_unsigned()
            }

            /// For a database column.
            #[must_use]
            pub const fn as_i64(self) -> i64 {
                self.0
            }
        }

        impl TryFrom<u64> for $name {
            type Error = OutOfRange;

            fn try_from(number: u64) -> Result<Self, OutOfRange> {
                match i64::try_from(number) {
                    Ok(number) if number > 0 => Ok(Self(number)),
                    _ => Err(OutOfRange),
                }
            }
        }

        impl TryFrom<i64> for $name {
            type Error = OutOfRange;

            fn try_from(number: i64) -> Result<Self, OutOfRange> {
                if number > 0 { Ok(Self(number)) } else { Err(OutOfRange) }
            }
        }

        impl From<$name> for u64 {
            fn from(id: $name) -> u64 {
                id.get()
            }
        }

        impl std::str::FromStr for $name {
            type Err = OutOfRange;

            fn from_str(text: &str) -> Result<Self, OutOfRange> {
                text.parse::<u64>().map_err(|_| OutOfRange)?.try_into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
                let id = ObjectBuilder::new().schema_type(Type::Integer).format(Some(format));
                id.minimum(Some(1)).maximum(Some(i64::MAX as isize)).into()
            }
        }

        impl ToSchema for $name {}
    };
}

positive_id!(CouponId);
positive_id!(
    /// The coupon policy, which is the wire format's name for the coupon's terms. Not a WebAssembly policy.
    PolicyId
);
positive_id!(UserId);

/// One of the logical shards that a coupon's stock is split into: 0, 1, 2, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ShardNo(pub u32);

impl fmt::Display for ShardNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A log partition: 0, 1, 2, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct PartitionNo(pub u32);

impl PartitionNo {
    /// The partition of a shard's requests. The shards of a coupon take consecutive partitions, from a start that depends
    /// on the coupon: so each coupon spreads evenly over any number of partitions, and all coupons together do too.
    ///
    /// The result for an input must never change: gateways of different releases must agree on it.
    #[must_use]
    pub fn of(coupon: CouponId, shard: ShardNo, partitions: u32) -> Self {
        let start = mix64(coupon.get()) % u64::from(partitions);
        let partition = (start + u64::from(shard.0)) % u64::from(partitions);
        Self(u32::try_from(partition).expect("less than the number of partitions"))
    }
}

impl fmt::Display for PartitionNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies a request. A retry by the same user with the same Idempotency-Key and body has the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct RequestId(Uuid);

impl RequestId {
    /// A UUID version 7: ordered by milliseconds, so that outcomes are inserted into neighbouring index pages. A finer
    /// order would need a counter that all workers lock.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::new_v7(Timestamp::now(NoContext)))
    }

    /// For a record without an id. It depends only on the record's position, so that a replay settles it under the same
    /// id; the hashed text must not change either.
    #[must_use]
    pub fn from_log_position(partition: PartitionNo, offset: Offset) -> Self {
        Self::from_hash(Sha256::new_with_prefix(format!("place {partition}/{offset}")))
    }

    /// Begins with 16 bits of the coupon's hash; 106 bits of `hash` follow. So outcomes of one campaign are inserted into
    /// neighbouring index pages, which fit in the database's memory however many outcomes of other campaigns it holds.
    pub(super) fn from_hash_of_coupon(coupon: CouponId, hash: Sha256) -> Self {
        let mut bytes = Self::from_hash(hash).0.into_bytes();
        bytes[..2].copy_from_slice(&mix64(coupon.get()).to_be_bytes()[..2]);
        Self(Uuid::from_bytes(bytes))
    }

    /// A UUID version 8, which has 122 bits of the hash.
    fn from_hash(hash: Sha256) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// 64 uniform bits for the policies. A retry gets the same bits, so that random choices come out the same.
    #[must_use]
    pub fn entropy(self) -> u64 {
        let (high, low) = self.0.as_u64_pair();
        mix64(high ^ mix64(low))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl From<[u8; 16]> for RequestId {
    fn from(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl std::str::FromStr for RequestId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies a log, whatever its name: a topic that is deleted and created again under its name is another log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct LogId(Uuid);

impl LogId {
    /// A new identity.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl std::str::FromStr for LogId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014): neighbouring inputs give unrelated outputs.
pub(crate) fn mix64(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn twelve_shards_of_a_coupon_use_twelve_partitions() {
        let coupon = CouponId::try_from(104_u64).expect("in range");
        let partitions: BTreeSet<_> = (0..12).map(|shard| PartitionNo::of(coupon, ShardNo(shard), 12)).collect();
        assert_eq!(partitions.len(), 12);
    }

    #[test]
    fn the_partition_of_a_shard_is_stable_across_releases() {
        let coupon = CouponId::try_from(104_u64).expect("in range");
        assert_eq!(PartitionNo::of(coupon, ShardNo(0), 12), PartitionNo(10));
        assert_eq!(PartitionNo::of(coupon, ShardNo(7), 12), PartitionNo(5));
    }

    #[test]
    fn ids_outside_1_to_i64_max_are_rejected() {
        assert!(UserId::try_from(0_u64).is_err());
        assert!(UserId::try_from(u64::MAX).is_err());
        assert_eq!(UserId::try_from(7_u64).map(UserId::get), Ok(7));
    }
}
