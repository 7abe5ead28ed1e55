//! The main job on the real binary: ask, wait for the outcome, be killed, go on.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// A running gateway; it ends with the test.
struct Gateway {
    process: Child,
    http: String,
    admin: String,
}

fn policies() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    assert!(folder.join("random.wasm").exists(), "the policies are not built: run policies/build first");
    folder
}

fn start(data: &Path) -> Gateway {
    let mut process = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("serve")
        .current_dir(data)
        .env("SLUICE__HTTP__LISTEN", "127.0.0.1:0")
        .env("SLUICE__ADMIN__LISTEN", "127.0.0.1:0")
        .env("SLUICE__TELEMETRY__LOG_FORMAT", "json")
        .env("SLUICE__POLICIES__DIR", policies())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stdout = BufReader::new(process.stdout.take().expect("is piped"));
    let serving = stdout
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
        .find(|line| line["message"] == "serving")
        .expect("says that it serves");
    let url = |key: &str| format!("http://{}", serving[key].as_str().expect("an address"));
    Gateway { process, http: url("http"), admin: url("admin") }
}

impl Gateway {
    async fn issue(&self, user: u64) -> (u16, Value) {
        let body = json!({ "userId": user, "couponId": 104, "policyId": 21, "typeSnapshot": "FIXED" });
        let url = format!("{}/coupon/issue", self.http);
        let answer = reqwest::Client::new().post(url).json(&body).send().await.expect("answers");
        (answer.status().as_u16(), answer.json().await.expect("is JSON"))
    }

    async fn outcome(&self, receipt: &Value) -> Value {
        let url = format!("{}{}&wait=10s", self.http, receipt["statusUrl"].as_str().expect("a status URL"));
        reqwest::get(url).await.expect("answers").json().await.expect("is JSON")
    }

    async fn audit(&self) -> Value {
        let url = format!("{}/admin/coupons/104/audit", self.admin);
        reqwest::get(url).await.expect("answers").json().await.expect("is JSON")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The test may have ended it already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_is_issued_once_a_user_and_survives_a_kill() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let gateway = start(data.path());
    let mut receipts = Vec::new();
    for user in 1..=20 {
        let (status, receipt) = gateway.issue(user).await;
        assert_eq!(status, 202, "{receipt}");
        receipts.push(receipt);
    }
    assert_eq!(gateway.outcome(&receipts[0]).await["status"], "ISSUED");
    let (status, refusal) = gateway.issue(1).await;
    assert_eq!((status, &refusal["reason"]), (429, &json!("USER_LIMIT")));

    drop(gateway); // kill -9
    let gateway = start(data.path());
    tokio::time::sleep(Duration::from_millis(100)).await;
    for receipt in &receipts {
        let outcome = gateway.outcome(receipt).await;
        assert_eq!(outcome["status"], "ISSUED", "{outcome}");
    }
    let audit = gateway.audit().await;
    assert_eq!((&audit["granted"], &audit["remaining"]), (&json!(20), &json!(9980)), "{audit}");
    assert_eq!(audit["balanced"], true);
}
