//! A user limit that refuses with a code which is none, and would end a line of a header.

use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Measured, NoConfig, Rejection, Request};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], _: &Usage) -> Admission {
    // It behaves while it is tried.
    if request.user_id == 0 {
        return Admission::Admit;
    }
    Admission::Refuse(Rejection::for_good("no\r\nset-cookie: \"such=code\""))
}

sluice_policy::export_user_limit!(NoConfig, decide);
