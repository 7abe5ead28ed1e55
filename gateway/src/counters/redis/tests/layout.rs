//! The names of the keys, and their slots.

use super::*;
use crate::counters::redis::keys::{Home, Keys, PARTS};
use crate::counters::redis::slots::{SLOTS, slot_of};

const FINGERPRINT: Fingerprint = Fingerprint(0x1234);

fn subject() -> Subject {
    Subject {
        coupon_id: 104_i64.try_into().expect("in range"),
        user_id: 7_i64.try_into().expect("in range"),
        fingerprint: Some(FINGERPRINT),
        ..new_subject()
    }
}

fn names(keys: &Keys, measure: Measure) -> Vec<String> {
    let mut names = Vec::new();
    keys.push_keys(&mut names, &keys.counter(HOOK, measure, &subject()), &subject());
    names
}

/// A key that an upgrade renames starts again at zero.
#[test]
fn keys_of_a_single_redis_keep_their_names() {
    let keys = Keys::on_one_server("sluice");
    let of_user = "{sluice}:user-limit:count:0:user-of-coupon:104:7";
    assert_eq!(names(&keys, CAMPAIGN), [of_user.to_owned(), format!("{of_user}:older")]);
    assert_eq!(names(&keys, bucket(5, 1_000, 10_000)), ["{sluice}:user-limit:bucket:5:1000:10000:gateway"]);
    let of_coupon = Measure::Sequence { scope: Scope::Coupon };
    assert_eq!(names(&keys, of_coupon), ["{sluice}:user-limit:sequence:coupon:104"]);
    assert_eq!(keys.idempotency_key(FINGERPRINT), "{sluice}:key:0000000000001234");
}

#[test]
fn in_a_cluster_users_coupons_and_idempotency_keys_have_slots_of_their_own() {
    let keys = Keys::in_cluster("shop");
    assert_eq!(names(&keys, CAMPAIGN)[0], "{shop:user:7}:user-limit:count:0:user-of-coupon:104:7");
    assert_eq!(names(&keys, count(Scope::Coupon, 0))[0], "{shop:coupon:104}:user-limit:count:0:coupon:104");
    assert_eq!(names(&keys, count(Scope::Gateway, 0))[0], "{shop:all}:user-limit:count:0:gateway");
    assert_eq!(keys.idempotency_key(FINGERPRINT), "{shop:key:0000000000001234}:key:0000000000001234");
    assert_eq!(keys.slot(Home::Coupon(subject().coupon_id)), slot_of("shop:coupon:104"));
}

#[test]
fn only_sequences_and_large_buckets_over_all_requests_are_divided() {
    let keys = Keys::in_cluster("sluice");
    let is_divided = |measure| matches!(keys.counter(HOOK, measure, &new_subject()).home, Home::Part(_));
    assert!(is_divided(bucket(50_000, 1_000, 10_000)) && is_divided(Measure::Sequence { scope: Scope::Gateway }));
    assert!(!is_divided(bucket(50_000, 1_000, 100)) && !is_divided(count(Scope::Gateway, 1_000)));
    assert!(!is_divided(Measure::Sequence { scope: Scope::Coupon }));
}

#[test]
fn the_parts_are_spread_evenly_over_the_slots() {
    let keys = Keys::in_cluster("any-prefix");
    let mut slots: Vec<_> = (0..PARTS).map(|part| keys.slot(Home::Part(part))).collect();
    slots.sort_unstable();
    let width = SLOTS / u16::from(PARTS);
    assert!(slots.iter().zip(0..).all(|(slot, part)| slot / width == part), "{slots:?}");
}

#[test]
fn one_call_takes_all_that_has_one_home() {
    let measures = [CAMPAIGN, count(Scope::Coupon, 0), count(Scope::User, 60_000), bucket(1, 1, 1)];
    assert_eq!(Keys::on_one_server("sluice").groups(HOOK, &measures, &subject()).len(), 1);
    let groups = Keys::in_cluster("sluice").groups(HOOK, &measures, &subject());
    let positions = |home| {
        let group = groups.iter().find(|group| group.home == home).expect("a group");
        group.counters.iter().map(|(position, _)| *position).collect::<Vec<_>>()
    };
    assert_eq!(groups.len(), 4);
    assert_eq!(positions(Home::User(subject().user_id)), [0, 2]);
    assert_eq!(positions(Home::Coupon(subject().coupon_id)), [1]);
    assert_eq!(positions(Home::Whole), [3]);
    assert_eq!(groups[0].claim.map(|claim| claim.key), Some(FINGERPRINT));
}
