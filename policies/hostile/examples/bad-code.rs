//! A user limit that refuses with a code which is none, and would end a line of a header.

use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Measured, NoConfig, Rejection, Request};

fn decide(_: &NoConfig, _: &Request, _: &[Measured], _: &Usage) -> Admission {
    Admission::Refuse(Rejection::for_good("no\r\nset-cookie: \"such=code\""))
}

sluice_policy::export_user_limit!(NoConfig, decide);
