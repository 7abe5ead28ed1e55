use proptest::prelude::*;

use super::super::guards::Guard;
use super::*;
use crate::counters::Hook;

fn rollout(percent: u16, auto: Option<Auto>) -> Rollout {
    Rollout {
        id: 1,
        scope: Scope::Default,
        candidate: OwnHooks::default(),
        replaced: OwnHooks::default(),
        status: Status::Running,
        canary_percent: Percent::of(percent),
        shadow: true,
        auto,
        guards: Guards::default(),
        started_by: "ada".to_owned(),
        started_at_ms: 0,
        step_no: 0,
        step_since_ms: 0,
        history: Vec::new(),
        salt: 7,
    }
}

fn reading(judgement: Judgement) -> Reading {
    Reading { hook: Hook::UserLimit, guard: Guard::Failures, found: Some(0.02), bound: 0.005, judgement }
}

fn auto() -> Option<Auto> {
    Some(Auto { percents: [1, 10].map(Percent::of).into(), seconds: 60, decisions: 1000 })
}

#[test]
fn an_automatic_rollout_goes_through_its_shares_and_is_then_promoted() {
    let within = [reading(Judgement::Within)];
    let next = |percent| rollout(percent, auto()).next(60_000, &within, 1000);
    assert_eq!(next(0), Next::Canary(Percent::of(1)));
    assert_eq!(next(1), Next::Canary(Percent::of(10)));
    assert_eq!(next(10), Next::Promote);
}

#[test]
fn a_step_takes_its_duration_and_its_number_of_decisions() {
    let within = [reading(Judgement::Within)];
    assert_eq!(rollout(1, auto()).next(59_999, &within, 1000), Next::Stay);
    assert_eq!(rollout(1, auto()).next(60_000, &within, 999), Next::Stay);
    assert_eq!(rollout(1, None).next(60_000, &within, 1000), Next::Stay, "an operator decides");
}

proptest! {
    #[test]
    fn one_guard_beyond_its_bound_rolls_back_and_one_that_is_unknown_never_promotes(
        judgements in proptest::collection::vec(
            prop_oneof![Just(Judgement::Within), Just(Judgement::Unknown), Just(Judgement::Beyond)],
            0..6,
        ),
        percent in 0_u16..100,
        is_auto: bool,
        decisions: u64,
    ) {
        let readings: Vec<_> = judgements.iter().copied().map(reading).collect();
        let next = rollout(percent, auto().filter(|_| is_auto)).next(i64::MAX, &readings, decisions);
        let is_beyond = judgements.contains(&Judgement::Beyond);
        prop_assert_eq!(matches!(next, Next::RollBack(_)), is_beyond);
        if judgements.is_empty() || judgements.contains(&Judgement::Unknown) {
            prop_assert!(!matches!(next, Next::Promote | Next::Canary(_)));
        }
        if let Next::Canary(larger) = next {
            prop_assert!(larger > Percent::of(percent), "the share only rises");
        }
    }
}

#[test]
fn a_rollout_that_is_over_stays_as_it_is() {
    for status in [Status::Promoting, Status::Promoted { generation: 2 }, Status::Aborted { by: "ada".to_owned() }] {
        let rollout = Rollout { status, ..rollout(10, auto()) };
        assert_eq!(rollout.next(i64::MAX, &[reading(Judgement::Beyond)], u64::MAX), Next::Stay);
    }
}

#[test]
fn the_history_is_bounded_and_keeps_its_beginning_and_its_end() {
    let mut rollout = rollout(0, None);
    for at_ms in 0..1000 {
        rollout.step(Percent::of(1), Event { at_ms, who: "ada".to_owned(), what: String::new(), measured: Vec::new() });
    }
    assert_eq!(rollout.history.len(), EVENTS_MAX);
    assert_eq!((rollout.history[0].at_ms, rollout.history[EVENTS_MAX - 1].at_ms), (0, 999));
    assert_eq!(rollout.step_no, 1000);
}

#[test]
fn a_plan_whose_shares_do_not_rise_is_refused() {
    for percents in [vec![], vec![0, 10], vec![10, 10], vec![50, 1]] {
        let auto = Auto { percents: percents.into_iter().map(Percent::of).collect(), ..Auto::default() };
        assert_eq!(auto.check().expect_err("refused"), "auto.percents: expected 1 to 20 rising numbers above 0");
    }
    assert_eq!(Auto::default().check(), Ok(()));
}

#[test]
fn a_rollout_reads_back_as_it_was_written() {
    let mut rollout = rollout(10, auto());
    let event =
        Event { at_ms: 1, who: "ada".to_owned(), what: "x".to_owned(), measured: vec![reading(Judgement::Within)] };
    rollout.set_status(Status::RolledBack { reason: "trap".to_owned() }, event);
    let json = serde_json::to_string(&rollout).expect("JSON");
    assert_eq!(serde_json::from_str::<Rollout>(&json).expect("reads back"), rollout);
}
