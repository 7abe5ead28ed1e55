//! What users do besides asking once: retry under a key, ask for something else under it, hang up.

use std::time::Duration;

use crate::checker::Reply;
use crate::crowd::Crowd;

const RETRY_EVERY: Duration = Duration::from_millis(200);
const TRIES_MAX: usize = 200;

/// Whether the user asks for something else under a key after the 202 for it.
pub(crate) fn asks_again(user: u64) -> bool {
    user % 6 == 1
}

/// Of six users, one hangs up at once. Three have a key, and retry at both gateways until the answer is not a server
/// error; then one repeats the request and asks for something else under the key at the other gateway, and another asks for
/// something else at the same time. Two have no key, and cannot retry safely.
pub(crate) async fn act(gateways: [Crowd; 2], user: u64) {
    let [first, second] = &gateways;
    let [one, other] = if (user / 6).is_multiple_of(2) { [first, second] } else { [second, first] };
    let key = format!("request of user {user} for coupon {}", one.coupon);
    match user % 6 {
        _ if asks_again(user) => {
            if retry([one, other], user, &key).await.is_some_and(|reply| reply.is_accepted()) {
                other.request_other(user, key.clone()).await;
                retry([other, one], user, &key).await;
            }
        }
        0 => one.request_and_hang_up(user, Duration::from_micros(user * 37 % 2_000)).await,
        2 => drop(tokio::join!(retry([one, other], user, &key), other.request_other(user, key.clone()))),
        3 => drop(retry([one, other], user, &key).await),
        _ => drop(one.request(user).await),
    }
}

/// The answer, unless there is none after many attempts.
async fn retry(gateways: [&Crowd; 2], user: u64, key: &str) -> Option<Reply> {
    for gateway in gateways.into_iter().cycle().take(TRIES_MAX) {
        let reply = gateway.request_with_key(user, Some(key.to_owned())).await;
        if reply.is_answer() {
            return Some(reply);
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
    None
}
