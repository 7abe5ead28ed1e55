//! The types of `wit/0.1/policy.wit` that differ: a rejection has no message and no link.

use wasmtime::component::{ComponentType, Lift};

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct Rejection {
    code: String,
    #[component(name = "retry-after-ms")]
    retry_after_ms: Option<u32>,
}

impl From<Rejection> for super::Rejection {
    fn from(Rejection { code, retry_after_ms }: Rejection) -> Self {
        Self { code, retry_after_ms, message: None, link: None }
    }
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub enum Shaping {
    #[component(name = "pass")]
    Pass,
    #[component(name = "delay")]
    Delay(u32),
    #[component(name = "shed")]
    Shed(Rejection),
}

impl From<Shaping> for super::Shaping {
    fn from(shaping: Shaping) -> Self {
        match shaping {
            Shaping::Pass => Self::Pass,
            Shaping::Delay(ms) => Self::Delay(ms),
            Shaping::Shed(rejection) => Self::Shed(rejection.into()),
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub enum LimitVerdict {
    #[component(name = "admit")]
    Admit,
    #[component(name = "refuse")]
    Refuse(Rejection),
}

impl From<LimitVerdict> for super::LimitVerdict {
    fn from(verdict: LimitVerdict) -> Self {
        match verdict {
            LimitVerdict::Admit => Self::Admit,
            LimitVerdict::Refuse(rejection) => Self::Refuse(rejection.into()),
        }
    }
}
