//! Many hostile clients at once, one kind after the other: the memory that they take, and how an honest client fares.

mod attack;

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::harness::{Campaign, Gateway, machine, payload, soak};
use crate::load::{self, Latencies};
use attack::Attack;

const CLIENTS: (usize, usize) = (100, 1_000);
/// Of each kind. In the long form, the gateway times out those that wait.
const LASTS: (Duration, Duration) = (Duration::from_millis(1200), Duration::from_secs(20));
/// A hostile client whose connection was closed attacks again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Until the gateway has noticed that the hostile clients are gone.
const NOTICED: Duration = Duration::from_millis(300);
const HONEST_PER_SECOND: f64 = 50.0;
/// Far more than on an idle machine, and less than the 10 s after which the gateway times out a hostile client.
const P99_MAX: Duration = Duration::from_secs(8);
/// Of the gateway, for each hostile client. Most is taken by the 100 requests of an HTTP/2 connection whose answers wait.
const BYTES_PER_CLIENT_MAX: u64 = 320 << 10;
/// What an allocator keeps, whatever the number of clients.
const MORE_BYTES_MAX: u64 = 20 << 20;
/// Of the test's process, for all else but the hostile clients.
const OPEN_FILES_MORE: u64 = 200;
const CAMPAIGN: Campaign = Campaign::of(1_000_000, 4);

/// The hostile clients of one kind.
struct Flood {
    clients: JoinSet<()>,
    connections: Arc<AtomicUsize>,
}

/// What happened with one kind.
struct Row {
    attack: Attack,
    connections: usize,
    /// Bytes of memory: before, at the peak, and after the clients have gone.
    before: u64,
    peak: u64,
    after: u64,
    honest: Latencies,
}

impl Flood {
    fn begin(attack: Attack, clients: usize, address: SocketAddr) -> Self {
        let connections = Arc::<AtomicUsize>::default();
        let client = || {
            let connections = Arc::clone(&connections);
            async move {
                loop {
                    connections.fetch_add(1, Ordering::Relaxed);
                    attack.run(address).await;
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        };
        Self { clients: std::iter::repeat_with(client).take(clients).collect(), connections }
    }

    /// Returns how often the clients connected.
    async fn end(mut self) -> usize {
        self.clients.abort_all();
        while let Some(ended) = self.clients.join_next().await {
            assert!(ended.is_err_and(|error| error.is_cancelled()), "a hostile client could not connect");
        }
        self.connections.load(Ordering::Relaxed)
    }
}

/// Requests at a fixed rate, each on a connection of its own. All are accepted.
async fn send_honest(http: SocketAddr, coupon: u64, users: Range<u64>) -> Latencies {
    let request = |user| async move {
        let begun = Instant::now();
        let answer = Client::to(http).post("/coupon/issue", payload(user, coupon)).await;
        assert_eq!(answer.status, 202, "{answer}");
        begun.elapsed()
    };
    Latencies::of(load::run_open(HONEST_PER_SECOND, users, request).await)
}

/// Every hostile client takes a descriptor of this process. The usual soft limit is 1024.
fn raise_file_limit(needed: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    assert!(maximum.is_none_or(|maximum| maximum >= needed), "raise the limit of open files: `ulimit -Hn {needed}`");
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the soft limit can be raised");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_hostile_clients_takes_bounded_memory_and_delays_no_honest_client() {
    machine::exclusive();
    let clients = soak::short_or_long(CLIENTS.0, CLIENTS.1);
    let lasts = soak::short_or_long(LASTS.0, LASTS.1);
    raise_file_limit(clients as u64 + OPEN_FILES_MORE);
    let gateway = Gateway::start().await;
    let coupon = gateway.create(CAMPAIGN).await;
    let requests = (lasts.as_secs_f64() * HONEST_PER_SECOND) as u64;
    let mut users = (1..).step_by(requests as usize).map(|first| first..first + requests);
    let mut next_users = || users.next().expect("there are more users");
    let alone = send_honest(gateway.http, coupon, next_users()).await;
    println!("{clients} clients of each kind; an honest client alone: {alone}");
    println!("{:22} {:>12} {:>8} {:>8} {:>8}  an honest client", "kind", "connections", "before", "peak", "after");
    for attack in Attack::ALL {
        let before = gateway.memory().now;
        gateway.reset_peak_memory();
        let flood = Flood::begin(attack, clients, gateway.http);
        let honest = send_honest(gateway.http, coupon, next_users()).await;
        let peak = gateway.memory().peak;
        let connections = flood.end().await;
        tokio::time::sleep(NOTICED).await;
        let row = Row { attack, connections, before, peak, after: gateway.memory().now, honest };
        println!("{row}");
        row.assert_bounded(clients);
    }
    let problems = gateway.logged_problems();
    assert!(problems.is_empty(), "{problems:?}");
}

impl Row {
    fn assert_bounded(&self, clients: usize) {
        let grown = self.peak.saturating_sub(self.before);
        let most = clients as u64 * BYTES_PER_CLIENT_MAX + MORE_BYTES_MAX;
        assert!(grown < most, "{:?}: memory grew by {grown} bytes", self.attack);
        let p99 = self.honest.quantile(0.99);
        assert!(p99 < P99_MAX, "{:?}: {}", self.attack, self.honest);
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attack, connections, before, peak, after, honest } = self;
        let kind = format!("{attack:?}");
        let [before, peak, after] = [before, peak, after].map(|bytes| format!("{} MiB", bytes >> 20));
        write!(f, "{kind:22} {connections:>12} {before:>8} {peak:>8} {after:>8}  {honest}")
    }
}
