use crate::counters::Options;
use crate::counters::contract::contract_tests;

use super::*;

contract_tests!(redis => shared().await);

/// The Redis that the tests share. Every test makes up its own users and coupons.
async fn shared() -> Redis {
    let url = std::env::var("SLUICE_TEST_REDIS").unwrap_or_else(|_| "redis://127.0.0.1:16379".to_owned());
    let opened = Redis::open(server(&url)).await;
    opened.unwrap_or_else(|error| panic!("{error}\nstart it with `infra/native/services up redis`"))
}

fn server(url: &str) -> Server {
    let options = Options { url: url.to_owned(), ..Options::default() };
    options.server().expect("a URL").expect("of Redis")
}
