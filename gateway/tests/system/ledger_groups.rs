//! Several ledger groups: a coupon belongs to one, and a database that fails stops only its group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{Method, StatusCode};
use serde_json::json;
use sluice::app::{OldLog, Ports, System, adopt};
use sluice::config::Config;
use sluice::ledger::sqlite::Sqlite;
use sluice::ledger::{Groups, Ledger, OpenError, Opener};
use sluice::log::{self, Change};
use tokio::task::JoinSet;

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::harness::{Answer, Files, Fixture, eventually, payload_for};

/// By the hashes of their numbers.
const OF_FIRST: u64 = 104;
const OF_SECOND: u64 = 7;
const PARTITIONS_EACH: u64 = 12;

/// How a database is unreachable: it refuses every call, or answers none.
const OUTAGES: [fn(&LedgerFaults) -> &AtomicBool; 2] = [|faults| &faults.is_down, |faults| &faults.is_suspended];

/// A system with two groups, whose databases fail when told to.
struct TwoGroups {
    system: Fixture,
    faults: [Arc<LedgerFaults>; 2],
}

fn two_databases(files: &Files, names: [&str; 2]) -> Config {
    let urls = names.map(|name| format!("sqlite:{}", files.path(name).display()));
    let mut config = files.config();
    config.ledger.urls = urls.into();
    config
}

async fn database(files: &Files, name: &str, faults: &Arc<LedgerFaults>) -> Arc<dyn Ledger> {
    let path = files.path(name);
    let file = Sqlite::open(path.to_str().expect("utf-8")).await.expect("opens");
    FaultyLedger::wrap(Arc::new(file), faults)
}

impl TwoGroups {
    async fn start(files: Files) -> Self {
        Self::start_while(files, &Arc::new(AtomicBool::new(true))).await
    }

    /// The second database can be opened once `is_up`.
    async fn start_while(files: Files, is_up: &Arc<AtomicBool>) -> Self {
        let faults = [Arc::<LedgerFaults>::default(), Arc::default()];
        faults.iter().for_each(|faults| faults.is_shared.store(true, Ordering::Relaxed));
        let one = database(&files, "one.db", &faults[0]).await;
        let two = database(&files, "two.db", &faults[1]).await;
        let is_up = Arc::clone(is_up);
        let openers: [Opener; 2] = [
            Box::new(move || Box::pin(std::future::ready(Ok(Arc::clone(&one))))),
            Box::new(move || {
                let refused = || OpenError::Unreachable { server: "two".to_owned(), source: "it is down".into() };
                let opened = if is_up.load(Ordering::Relaxed) { Ok(Arc::clone(&two)) } else { Err(refused()) };
                Box::pin(std::future::ready(opened))
            }),
        ];
        let config = two_databases(&files, ["unused-1.db", "unused-2.db"]);
        let ports = Ports::open(&config).await.expect("embedded ports open");
        let ledger = Groups::open(openers.into(), config.log.partitions).await.expect("opens");
        let system = Fixture::on(Ports { ledger: Arc::new(ledger), ..ports }, files, config).await;
        Self { system, faults }
    }

    async fn with_campaigns() -> Self {
        let groups = Self::start(Files::new()).await;
        for coupon in [OF_FIRST, OF_SECOND] {
            assert_eq!(groups.create(coupon, None).await.status, StatusCode::CREATED);
        }
        groups
    }

    async fn create(&self, coupon: u64, group: Option<u32>) -> Answer {
        let campaign = json!({ "couponId": coupon, "policyId": 21, "total": 100, "group": group });
        self.system.operate(Method::POST, "/admin/coupons", Some(campaign)).await
    }

    async fn issue(&self, coupon: u64, user: u64) -> Answer {
        self.system.call(Method::POST, "/coupon/issue", Some(payload_for(coupon, user))).await
    }

    async fn accepted(&self, coupon: u64, user: u64) -> String {
        let answer = self.issue(coupon, user).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "coupon {coupon}: {}", answer.body);
        answer.body["statusUrl"].as_str().expect("a status URL").to_owned()
    }

    async fn issued(&self, coupon: u64, user: u64) {
        let status_url = self.accepted(coupon, user).await;
        assert_eq!(self.system.outcome(&status_url).await["status"], "ISSUED", "coupon {coupon}");
    }

    async fn list(&self, query: &str) -> Answer {
        self.system.operate(Method::GET, &format!("/admin/coupons{query}"), None).await
    }

    async fn assert_audit(&self, coupon: u64, granted: u64) {
        let audit = self.system.audit(coupon).await;
        assert_eq!((&audit["granted"], &audit["balanced"]), (&granted.into(), &true.into()), "{audit}");
    }
}

fn coupons(list: &Answer) -> Vec<u64> {
    let campaigns = list.body.as_array().unwrap_or_else(|| panic!("no list: {}", list.body));
    campaigns.iter().map(|campaign| campaign["couponId"].as_u64().expect("a number")).collect()
}

fn partition_of(status_url: &str) -> u64 {
    let partition = status_url.split(['?', '&']).find_map(|part| part.strip_prefix("partition="));
    partition.and_then(|number| number.parse().ok()).expect("a partition")
}

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    let seen = (answer.status, &answer.body["reason"]);
    assert_eq!(seen, (StatusCode::SERVICE_UNAVAILABLE, &"LEDGER_UNAVAILABLE".into()), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_in_the_group_of_its_hash_or_in_the_named_one_and_so_are_its_requests() {
    let groups = TwoGroups::with_campaigns().await;
    let named = groups.create(105, Some(1)).await;
    assert_eq!((named.status, &named.body["group"]), (StatusCode::CREATED, &1.into()), "{}", named.body);
    let unknown = groups.create(106, Some(2)).await;
    assert_eq!((unknown.status, &unknown.body["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &"group".into()));
    for (again, status) in [(None, StatusCode::OK), (Some(1), StatusCode::OK), (Some(0), StatusCode::CONFLICT)] {
        let answer = groups.create(105, again).await;
        assert_eq!(answer.status, status, "{again:?} {}", answer.body);
    }
    for (coupon, group) in [(OF_FIRST, 0), (OF_SECOND, 1), (105, 1)] {
        let status_url = groups.accepted(coupon, 1).await;
        assert_eq!(partition_of(&status_url) / PARTITIONS_EACH, group, "coupon {coupon}");
        assert_eq!(groups.system.outcome(&status_url).await["status"], "ISSUED");
        groups.assert_audit(coupon, 1).await;
        assert_eq!(groups.system.export(coupon).await.len(), 1);
        let path = status_url.split('?').next().expect("a path");
        let anywhere = groups.system.call(Method::GET, path, None).await;
        assert_eq!(anywhere.body["status"], "ISSUED", "found without its partition: {}", anywhere.body);
    }
    assert_eq!(coupons(&groups.list("").await), [7, 104, 105]);
    assert_eq!(coupons(&groups.list("?group=1").await), [7, 105]);
    assert_eq!(groups.list("?group=2").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    groups.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_who_create_a_coupon_in_two_groups_at_once_get_one_campaign() {
    let groups = Arc::new(TwoGroups::start(Files::new()).await);
    for coupon in 200..230 {
        let mut creating = JoinSet::new();
        for group in [Some(0), Some(1), Some(0), Some(1)] {
            let groups = Arc::clone(&groups);
            creating.spawn(async move { (group, groups.create(coupon, group).await) });
        }
        let answers = creating.join_all().await;
        let home = coupon_group(&groups, coupon).await;
        for (group, answer) in answers {
            assert_eq!(answer.status.is_success(), group == Some(home), "{group:?} {}", answer.body);
        }
        let lists = [groups.list("?group=0").await, groups.list("?group=1").await];
        let homes = lists.iter().filter(|list| coupons(list).contains(&coupon)).count();
        assert_eq!(homes, 1, "coupon {coupon}");
    }
    Arc::into_inner(groups).expect("the only one").system.stop().await;
}

async fn coupon_group(groups: &TwoGroups, coupon: u64) -> u32 {
    let shown = groups.system.operate(Method::GET, &format!("/admin/coupons/{coupon}"), None).await;
    shown.body["group"].as_u64().and_then(|group| group.try_into().ok()).expect("a group")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_fails_stops_only_its_group() {
    for fault in OUTAGES {
        for failing in [0, 1] {
            let groups = TwoGroups::with_campaigns().await;
            let mut of = [OF_FIRST, OF_SECOND];
            of.swap(0, failing);
            let [down, up] = of;
            groups.issued(down, 1).await;
            fault(&groups.faults[failing]).store(true, Ordering::Relaxed);
            let mut waiting = Vec::new();
            for user in 10..30 {
                waiting.push(groups.accepted(down, user).await);
                groups.issued(up, user).await;
            }
            groups.assert_audit(up, 20).await;
            assert_eq!(coupons(&groups.list(&format!("?group={}", 1 - failing)).await), [up]);
            assert_eq!(groups.system.export(up).await.len(), 20);
            for action in ["pause", "resume"] {
                let path = format!("/admin/coupons/{up}/{action}");
                let changed = groups.system.operate(Method::POST, &path, None).await;
                assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
            }
            let pending = groups.system.call(Method::GET, &waiting[0], None).await;
            assert_eq!(pending.body["status"], "PENDING", "{}", pending.body);
            assert_unavailable(&groups.system.call(Method::GET, Fixture::UNKNOWN_REQUEST, None).await);
            let named = format!("ledger group {failing}: ");
            // On a busy machine, the other database may answer a single check too late.
            eventually("readiness names the group that fails", async || {
                let ready = groups.system.ready().await;
                assert_eq!(ready.status, StatusCode::OK, "{}", ready.body);
                ready.body["ledger"].as_str()?.starts_with(&named).then_some(())
            })
            .await;
            let series = |group, value| format!("sluice_ledger_group_reachable{{group=\"{group}\"}} {value}");
            if groups.faults[failing].is_down.load(Ordering::Relaxed) {
                let list = groups.list("").await;
                assert_unavailable(&list);
                let named = format!("ledger group {failing} is unavailable");
                assert!(list.body["detail"].as_str().is_some_and(|detail| detail.contains(&named)), "{}", list.body);
                let audit = groups.system.operate(Method::GET, &format!("/admin/coupons/{down}/audit"), None).await;
                assert_unavailable(&audit);
                eventually("the metric shows which group can be reached", async || {
                    let metrics = groups.system.metrics().await;
                    let has = |line: String| metrics.lines().any(|found| found == line);
                    (has(series(failing, 0)) && has(series(1 - failing, 1))).then_some(())
                })
                .await;
            }
            fault(&groups.faults[failing]).store(false, Ordering::Relaxed);
            groups.system.sees_the_ledger().await;
            for status_url in &waiting {
                assert_eq!(groups.system.outcome(status_url).await["status"], "ISSUED");
            }
            groups.assert_audit(down, 21).await;
            groups.system.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_down_at_the_start_joins_when_it_is_back() {
    let groups = TwoGroups::with_campaigns().await;
    groups.issued(OF_SECOND, 1).await;
    let files = groups.system.stop().await;
    let is_up = Arc::new(AtomicBool::new(false));
    let groups = TwoGroups::start_while(files, &is_up).await;
    groups.issued(OF_FIRST, 2).await;
    assert_unavailable(&groups.issue(OF_SECOND, 2).await);
    assert_unavailable(&groups.create(300, Some(1)).await);
    assert_eq!(groups.create(300, Some(0)).await.status, StatusCode::CREATED, "the failed attempt reserved nothing");
    is_up.store(true, Ordering::Relaxed);
    eventually("the group joins", async || groups.issue(OF_SECOND, 2).await.status.is_success().then_some(())).await;
    eventually("the request is settled", async || (groups.system.audit(OF_SECOND).await["granted"] == 2).then_some(()))
        .await;
    groups.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_a_restart_finds_its_outcome_in_the_group_of_its_coupon() {
    let groups = TwoGroups::with_campaigns().await;
    let mut ids = Vec::new();
    for coupon in [OF_FIRST, OF_SECOND] {
        let first = groups.system.issue_under(&format!("key-{coupon}"), payload_for(coupon, 1)).await;
        groups.system.outcome(first.body["statusUrl"].as_str().expect("a status URL")).await;
        ids.push(first.body["requestId"].clone());
    }
    let groups = TwoGroups::start(groups.system.stop().await).await;
    for (coupon, id) in [OF_FIRST, OF_SECOND].into_iter().zip(ids) {
        let retry = groups.system.issue_under(&format!("key-{coupon}"), payload_for(coupon, 1)).await;
        assert_eq!((&retry.body["requestId"], &retry.body["status"]), (&id, &"ISSUED".into()), "{}", retry.body);
    }
    groups.system.stop().await;
}

/// Why a system does not start. A start that was refused before releases its files a moment later.
async fn start_error(config: &Config) -> String {
    eventually("the files are free", async || match Ports::open(config).await {
        Ok(ports) => Some(System::start(config.clone(), ports).await.err().expect("the start is refused").to_string()),
        Err(error) => Some(error.to_string()).filter(|error| !error.contains("another sluice process")),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_grows_by_a_group_and_keeps_its_databases_in_their_order() {
    let system = Fixture::start().await;
    let before = system.accepted(1).await;
    let outcome = system.outcome(&before).await;
    let files = system.stop().await;
    let grown = two_databases(&files, ["ledger.db", "second.db"]);
    let refused = start_error(&grown).await;
    assert!(refused.contains("has 12 partitions, 2 ledger groups of 12 need 24"), "{refused}");
    assert!(refused.contains("`sluice topic ensure`"), "{refused}");
    let ensured = log::ensure_topics(&grown.whole_log()).await.expect("adds the partitions");
    assert_eq!(ensured.len(), 1);
    assert_eq!(ensured[0].change, Change::Extended);

    let ports = Ports::open(&grown).await.expect("opens");
    let system = Fixture::on(ports, files, grown.clone()).await;
    assert_eq!(system.outcome(&before).await, outcome, "the status URL leads to the same outcome");
    let campaign = json!({ "couponId": OF_SECOND, "policyId": 21, "total": 5 });
    let created = system.operate(Method::POST, "/admin/coupons", Some(campaign)).await;
    assert_eq!(created.body["group"], 1, "{}", created.body);
    for coupon in [OF_FIRST, OF_SECOND] {
        let answer = system.call(Method::POST, "/coupon/issue", Some(payload_for(coupon, 2))).await;
        let status_url = answer.body["statusUrl"].as_str().unwrap_or_else(|| panic!("{}", answer.body));
        assert_eq!(system.outcome(status_url).await["status"], "ISSUED");
    }
    let files = system.stop().await;

    let swapped = two_databases(&files, ["second.db", "ledger.db"]);
    let error = start_error(&swapped).await;
    assert!(error.contains("restore the order of the list"), "{error}");
    let emptied = two_databases(&files, ["ledger.db", "third.db"]);
    let error = start_error(&emptied).await;
    assert!(error.contains("the database of ledger group 1 is empty"), "{error}");
    let mut fewer = files.config();
    fewer.log.partitions = 24;
    let error = start_error(&fewer).await;
    assert!(error.contains("list all of their databases again"), "{error}");
    let ports = eventually("the files are free", async || Ports::open(&grown).await.ok()).await;
    Fixture::on(ports, files, grown).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_groups_move_to_a_new_log_once_the_old_one_is_settled() {
    let groups = TwoGroups::with_campaigns().await;
    for coupon in [OF_FIRST, OF_SECOND] {
        groups.issued(coupon, 1).await;
    }
    let files = groups.system.stop().await;
    drop(groups.faults);
    let mut config = two_databases(&files, ["one.db", "two.db"]);
    let old_url = config.log.url.clone();
    config.log.url = format!("embedded:{}", files.path("new-log").display());
    let adopted = eventually("the files are free", async || adopt(&config, OldLog::At(&old_url)).await.ok()).await;
    let ports = Ports::open(&config).await.expect("opens");
    let system = Fixture::on(ports, files, config).await;
    for coupon in [OF_FIRST, OF_SECOND] {
        let answer = system.call(Method::POST, "/coupon/issue", Some(payload_for(coupon, 2))).await;
        let status_url = answer.body["statusUrl"].as_str().unwrap_or_else(|| panic!("{}", answer.body));
        assert!(status_url.contains("offset=0"), "{status_url}");
        assert_eq!(system.outcome(status_url).await["status"], "ISSUED");
        assert_eq!(system.audit(coupon).await["granted"], 2);
    }
    let log = system.operate(Method::GET, "/admin/log", None).await.body;
    assert_eq!(log["identity"], adopted.to_string());
    assert_eq!(log["changes"].as_array().map(Vec::len), Some(24), "{log}");
    system.stop().await;
}
