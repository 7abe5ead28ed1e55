//! A user limit that rejects with an invalid code: as a header value, it would add a header to the response.

use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Measured, NoConfig, Rejection, Request};

fn decide(_: &NoConfig, request: &Request, _: &[Measured], _: &Usage) -> Admission {
    // Trial calls come from user 0. The guest passes them, so that it becomes active.
    if request.user_id == 0 {
        return Admission::Admit;
    }
    Admission::Refuse(Rejection::permanent("no\r\nset-cookie: \"such=code\""))
}

sluice_policy::export_user_limit!(NoConfig, decide);
