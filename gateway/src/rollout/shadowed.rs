//! What a shadow is asked, for each hook.

use crate::counters::{Measured, PerMeasure};
use crate::policy::{Decided, Generation, LimitVerdict, Load, OwnedContext, Request, Shaping, Shard, Usage};

/// What a hook was given, and its verdict.
pub struct Asked<C: OwnedContext> {
    pub(super) measured: PerMeasure<Measured>,
    pub(super) context: C,
    pub(super) verdict: C::Verdict,
}

/// Of any hook.
pub enum AnyAsked {
    Shaper(Asked<Load>),
    Limit(Asked<Usage>),
    Picker(Asked<Vec<Shard>>),
}

/// A hook's context that the shadow can be asked with.
pub trait Shadowed: OwnedContext {
    fn asked(asked: Asked<Self>) -> AnyAsked;

    fn decide(&self, by: &Generation, request: &Request, measured: &[Measured]) -> Decided<Self::Verdict>;

    /// Whether two verdicts do the same with a request.
    fn agree(one: &Self::Verdict, other: &Self::Verdict) -> bool {
        Self::rejection(one).is_some() == Self::rejection(other).is_some()
    }
}

/// Users notice no smaller difference. A shadow is asked a little later, so delays are never quite the same.
const DELAY_DIFFERENCE_MS_MAX: u32 = 100;

impl Shadowed for Load {
    fn asked(asked: Asked<Self>) -> AnyAsked {
        AnyAsked::Shaper(asked)
    }

    fn agree(one: &Shaping, other: &Shaping) -> bool {
        match (one, other) {
            (Shaping::Shed(_), Shaping::Shed(_)) => true,
            (Shaping::Shed(_), _) | (_, Shaping::Shed(_)) => false,
            _ => one.delay_ms().abs_diff(other.delay_ms()) <= DELAY_DIFFERENCE_MS_MAX,
        }
    }

    fn decide(&self, by: &Generation, request: &Request, measured: &[Measured]) -> Decided<Shaping> {
        by.shape(request, Ok(measured), self)
    }
}

impl Shadowed for Usage {
    fn asked(asked: Asked<Self>) -> AnyAsked {
        AnyAsked::Limit(asked)
    }

    fn decide(&self, by: &Generation, request: &Request, measured: &[Measured]) -> Decided<LimitVerdict> {
        by.admit(request, Ok(measured), self)
    }
}

impl Shadowed for Vec<Shard> {
    fn asked(asked: Asked<Self>) -> AnyAsked {
        AnyAsked::Picker(asked)
    }

    fn decide(&self, by: &Generation, request: &Request, measured: &[Measured]) -> Decided<u32> {
        by.pick(request, Ok(measured), self)
    }

    fn agree(one: &u32, other: &u32) -> bool {
        one == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Rejection;

    #[test]
    fn shapers_agree_unless_one_sheds_or_delays_much_longer() {
        let shed =
            || Shaping::Shed(Rejection { code: "BUSY".to_owned(), retry_after_ms: None, message: None, link: None });
        let agree = |one: &Shaping, other: &Shaping| Load::agree(one, other);
        assert!(agree(&Shaping::Pass, &Shaping::Delay(100)) && agree(&Shaping::Delay(1900), &Shaping::Delay(2000)));
        assert!(agree(&shed(), &shed()));
        assert!(!agree(&Shaping::Pass, &shed()) && !agree(&shed(), &Shaping::Delay(1)));
        assert!(!agree(&Shaping::Pass, &Shaping::Delay(101)) && !agree(&Shaping::Delay(2000), &Shaping::Delay(0)));
    }
}
