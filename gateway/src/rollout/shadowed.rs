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

impl Shadowed for Load {
    fn asked(asked: Asked<Self>) -> AnyAsked {
        AnyAsked::Shaper(asked)
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
