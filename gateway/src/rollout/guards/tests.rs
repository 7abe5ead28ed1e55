use std::time::Duration;

use super::super::latency::Latency;
use super::super::tally::ShadowTally;
use super::*;
use crate::policy::{Decided, LimitVerdict, Rejection, Usage};
use crate::telemetry::FailureReason;

const CHANGED: PerHook<bool> = PerHook { rate_shaper: false, user_limit: true, shard_picker: true };

/// An arm of this many decisions, of which some failed and some refused. Shards are picked evenly, and all calls take the
/// same time.
fn arm(decisions: u64, failures: u64, refusals: u64) -> PerHook<HookTally> {
    let mut calls = Latency::default();
    (0..decisions).for_each(|_| calls.observe(Duration::from_micros(5)));
    let called = HookTally { decisions, calls, ..HookTally::default() };
    let shards = (0..4).map(|shard| (shard, decisions / 4)).collect();
    PerHook {
        user_limit: HookTally { failures, fallbacks: failures, refusals, ..called.clone() },
        shard_picker: HookTally { shards, ..called },
        ..PerHook::default()
    }
}

fn judged(canary: PerHook<HookTally>) -> Vec<(Hook, Guard, Judgement)> {
    let tallies = Tallies { active: arm(10_000, 0, 1000), canary, ..Tallies::default() };
    let readings = judge(&Guards::default(), &CHANGED, true, &tallies);
    readings.iter().map(|reading| (reading.hook, reading.guard, reading.judgement)).collect()
}

fn beyond(canary: PerHook<HookTally>) -> Vec<Guard> {
    let readings = judged(canary).into_iter();
    readings.filter(|(_, _, judgement)| *judgement == Judgement::Beyond).map(|(_, guard, _)| guard).collect()
}

#[test]
fn an_equal_candidate_is_within_all_bounds() {
    let readings = judged(arm(1000, 0, 100));
    assert!(readings.iter().all(|(_, _, judgement)| *judgement == Judgement::Within), "{readings:?}");
    assert!(readings.iter().all(|(hook, ..)| *hook != Hook::RateShaper), "only changed hooks are judged: {readings:?}");
}

#[test]
fn nothing_is_judged_before_there_are_enough_decisions() {
    let readings = judged(arm(499, 499, 499));
    assert!(readings.iter().all(|(_, _, judgement)| *judgement == Judgement::Unknown), "{readings:?}");
}

#[test]
fn a_candidate_that_fails_in_two_of_a_hundred_calls_is_beyond_its_bounds() {
    assert_eq!(beyond(arm(1500, 30, 150)), [Guard::Failures]);
    assert_eq!(beyond(arm(2000, 200, 200)), [Guard::Failures, Guard::Fallbacks]);
}

#[test]
fn a_difference_that_may_be_chance_is_within_its_bound() {
    assert_eq!(beyond(arm(1000, 10, 100)), [], "1 %, with 0.5 % allowed");
    assert_eq!(beyond(arm(500, 0, 80)), [], "6 points, with 5 allowed");
}

#[test]
fn a_candidate_that_refuses_everybody_or_nobody_is_beyond_the_bound() {
    assert_eq!(beyond(arm(1000, 0, 1000)), [Guard::Refusals]);
    assert_eq!(beyond(arm(1000, 0, 0)), [Guard::Refusals]);
}

#[test]
fn a_candidate_that_always_picks_one_shard_is_beyond_the_bound() {
    let mut canary = arm(1000, 0, 100);
    canary.shard_picker.shards = [(0, 1000)].into();
    assert_eq!(beyond(canary), [Guard::Spread]);
}

#[test]
fn the_shadow_is_judged_while_no_canary_serves_users() {
    let shadow = ShadowTally { decided: arm(1000, 0, 100).user_limit, compared: 1000, different: 200, lost: 0 };
    let tallies = Tallies {
        active: arm(1000, 0, 100),
        shadow: PerHook { user_limit: shadow, ..PerHook::default() },
        ..Tallies::default()
    };
    let changed = PerHook { shard_picker: false, ..CHANGED };
    let readings = judge(&Guards::default(), &changed, false, &tallies);
    let beyond: Vec<_> = readings.iter().filter(|reading| reading.judgement == Judgement::Beyond).collect();
    assert_eq!(beyond.len(), 1, "{readings:?}");
    assert_eq!(
        beyond[0].describe(),
        "user-limit: the candidate decided 20.00 % of the requests differently, and 5.00 % are allowed"
    );
}

/// A call that used the processor for this long.
fn admitted(processor_time: Duration) -> Decided<LimitVerdict> {
    let verdict = Ok(LimitVerdict::Admit);
    Decided { verdict, failure: None, took: processor_time, processor_time: Some(processor_time) }
}

#[test]
fn a_slow_candidate_is_beyond_the_bound_unless_it_is_fast_enough_for_all() {
    let slow = |microseconds| {
        let mut tally = HookTally::default();
        (0..1000).for_each(|_| tally.record::<Usage>(&admitted(Duration::from_micros(microseconds))));
        PerHook { user_limit: tally, ..PerHook::default() }
    };
    let judged = |candidate| {
        let tallies = Tallies { active: slow(5), canary: slow(candidate), ..Tallies::default() };
        let changed = PerHook { shard_picker: false, ..CHANGED };
        let readings = judge(&Guards::default(), &changed, true, &tallies);
        readings.into_iter().find(|reading| reading.guard == Guard::CallP99).expect("is judged")
    };
    assert_eq!(judged(5).judgement, Judgement::Within);
    assert_eq!(judged(60).judgement, Judgement::Within);
    assert_eq!(judged(250).judgement, Judgement::Beyond);
    let (found, bound) = (judged(60).found.expect("calls"), judged(60).bound);
    assert!(
        found > Guards::default().call_p99_ratio && found < bound,
        "{found} times as long, and {bound} are allowed"
    );
}

#[test]
fn an_arm_whose_calls_were_not_measured_is_not_judged_by_them() {
    let mut canary = arm(1000, 0, 100);
    canary.user_limit.calls = Latency::default();
    let call_p99 =
        judged(canary).into_iter().find(|(hook, guard, _)| (*hook, *guard) == (Hook::UserLimit, Guard::CallP99));
    assert_eq!(call_p99.expect("is listed").2, Judgement::Unknown);
}

#[test]
fn a_call_that_waited_for_a_processor_is_not_slow() {
    let mut tally = HookTally::default();
    let waited = Decided { took: Duration::from_millis(50), ..admitted(Duration::from_micros(5)) };
    (0..1000).for_each(|_| tally.record::<Usage>(&waited));
    assert!(tally.call_p99().expect("calls") < Duration::from_micros(10));
}

#[test]
fn a_few_slow_calls_may_be_chance() {
    let arm = |slow: u64| {
        let mut tally = HookTally::default();
        for call in 0..500 {
            tally.record::<Usage>(&admitted(Duration::from_micros(if call < slow { 50_000 } else { 5 })));
        }
        PerHook { user_limit: tally, ..PerHook::default() }
    };
    let judged = |slow| {
        let tallies = Tallies { active: arm(0), canary: arm(slow), ..Tallies::default() };
        let changed = PerHook { shard_picker: false, ..CHANGED };
        let readings = judge(&Guards::default(), &changed, true, &tallies);
        readings.into_iter().find(|reading| reading.guard == Guard::CallP99).expect("is judged")
    };
    assert_eq!(judged(8).judgement, Judgement::Within, "1.6 % of the calls");
    assert!(judged(8).found > Some(1000.0), "although the percentile itself is far away");
    assert_eq!(judged(20).judgement, Judgement::Beyond, "4 % of the calls");
}

#[test]
fn a_failure_of_the_counters_counts_as_a_fallback_only() {
    let mut tally = HookTally::default();
    let refused = LimitVerdict::Refuse(Rejection {
        code: "USER_LIMIT".to_owned(),
        retry_after_ms: None,
        message: None,
        link: None,
    });
    for failure in [None, Some(FailureReason::Counters), Some(FailureReason::Trap)] {
        tally.record::<Usage>(&Decided {
            verdict: Ok(refused.clone()),
            failure,
            took: Duration::ZERO,
            processor_time: None,
        });
    }
    assert_eq!((tally.decisions, tally.failures, tally.fallbacks, tally.refusals), (3, 1, 2, 3));
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    let check = |guards: Guards| guards.check().expect_err("refused");
    assert_eq!(
        check(Guards { failures: 1.5, ..Guards::default() }),
        "guards.failures: expected a number from 0 to 1, found 1.5"
    );
    assert!(check(Guards { spread: f64::NAN, ..Guards::default() }).starts_with("guards.spread: "));
    assert!(check(Guards { decisions_min: 0, ..Guards::default() }).starts_with("guards.decisionsMin: "));
    assert!(check(Guards { call_p99_ratio: 0.5, ..Guards::default() }).starts_with("guards.callP99Ratio: "));
    assert!(check(Guards { ledger_seconds: 0, ..Guards::default() }).starts_with("guards.ledgerSeconds: "));
    assert_eq!(Guards::default().check(), Ok(()));
}
