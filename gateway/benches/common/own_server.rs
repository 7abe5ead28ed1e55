//! Servers that a benchmark runs in a process of its own program: a bare axum handler, and gateways with what no
//! configuration sets.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sluice::app::{Ports, System};
use sluice::config::Config;
use sluice::counters::{Counters, Hook, Measure, Scope, Subject};
use sluice::coupon::{CampaignCounts, RequestId, now_ms};
use sluice::policy::CompilerProgram;
use sluice::telemetry::{self, LogFormat};
use tokio::runtime::{Builder, Runtime};

use super::Server;
use super::backlog::COUPON;

/// Tells a child process which server to run.
const SERVER: &str = "SLUICE_BENCH_SERVER";

#[derive(Serialize, Deserialize)]
pub(crate) enum OwnServer {
    /// Reads the same body and answers 202.
    Bare,
    Gateway(OwnGateway),
}

/// The whole system, embedded.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct OwnGateway {
    /// The native defaults decide, instead of policies in WebAssembly.
    pub(crate) native: bool,
    /// Threads of the runtime, if not as many as `sluice serve` has.
    pub(crate) workers: Option<usize>,
    /// Users whose requests are counted before the start.
    pub(crate) known_users: u64,
}

impl OwnServer {
    pub(crate) fn start(&self) -> Server {
        let own_program = std::env::current_exe().expect("this program");
        Server::start(Command::new(own_program).env(SERVER, serde_json::to_string(self).expect("JSON")))
    }
}

/// Runs the server that this process was started for, if it was: the first call of `main`.
pub(crate) fn serve_if_asked() {
    let Ok(server) = std::env::var(SERVER) else { return };
    match serde_json::from_str(&server).expect("a server") {
        OwnServer::Bare => runtime(None).block_on(serve_bare()),
        OwnServer::Gateway(gateway) => gateway.runtime().block_on(gateway.serve()),
    }
}

fn runtime(workers: Option<usize>) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    builder.enable_all().build().expect("a runtime")
}

async fn serve_bare() {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        #[serde(rename = "userId")]
        _user_id: u64,
        #[serde(rename = "couponId")]
        _coupon_id: u64,
        type_snapshot: String,
    }
    let handler = |axum::Json(body): axum::Json<Body>| async move {
        let answer = json!({ "requestId": body.type_snapshot, "status": "PENDING", "statusUrl": "/coupon/issue/" });
        (axum::http::StatusCode::ACCEPTED, axum::Json(answer))
    };
    let router = axum::Router::new().route("/coupon/issue", axum::routing::post(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    println!("{}", json!({ "message": "serving", "http": listener.local_addr().expect("bound").to_string() }));
    axum::serve(listener, router).await.expect("serves");
}

impl OwnGateway {
    fn runtime(self) -> Runtime {
        match self.workers {
            None => sluice::app::runtime().expect("a runtime"),
            workers => runtime(workers),
        }
    }

    /// Serves from the working folder.
    async fn serve(self) {
        let mut config = Config::default();
        config.http.listen.set_port(0);
        config.admin.listen.set_port(0);
        config.telemetry.log_format = LogFormat::Json;
        config.policies.dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        config.policies.native = self.native;
        config.policies.compiler = CompilerProgram::Other(env!("CARGO_BIN_EXE_sluice").into());
        telemetry::start_logging(&config.telemetry).expect("logs");
        let ports = Ports::open(&config).await.expect("opens the ports");
        count_earlier(&*ports.counters, self.known_users).await;
        let mut running = System::start(config, ports).await.expect("run policies/build first");
        let failure = running.wait().await;
        panic!("{failure}");
    }
}

/// Counts one request of each user, as the user limit does.
async fn count_earlier(counters: &dyn Counters, users: u64) {
    let measures = [Measure::Count { scope: Scope::UserOfCoupon, window_ms: 0 }];
    for user in 1..=users {
        let subject = Subject {
            request_id: RequestId::new(),
            attempt: 0,
            coupon_id: COUPON.try_into().expect("in range"),
            user_id: user.try_into().expect("in range"),
            arrived_at_ms: now_ms(),
            fingerprint: None,
            campaign_counts: CampaignCounts::default(),
        };
        counters.reserve(Hook::UserLimit, &measures, &subject).await.expect("counts");
    }
}
